"""The parameters shared by every recipe; a recipe adds its own in a subclass."""

from __future__ import annotations

import hashlib
import json
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from helpers.params.atc_options import AtcOptions
from helpers.params.builder_config import BuilderConfig
from helpers.params.part import Part
from helpers.params.renamed import rename_parameters
from helpers.params.targets import Precision
from helpers.params.yaml_file import read_text, split_numbers

_DEVICES = "all, or distinct device numbers from 0 on"


class RunParams(BaseModel):
    """The parameters of one run: weights, data, device, and the limits that must hold. `None` selects the default."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,  # an infinite tolerance would pass every gate
        protected_namespaces=(),
        use_attribute_docstrings=True,
    )

    # Fields that change where results are written or how they are shown, never the results; `part` changes which
    # results a run holds, and is in the name of its folder.
    NOT_HASHED: ClassVar[frozenset[str]] = frozenset(
        {
            "devices",
            "cases_in_flight",
            "engine",
            "ray_address",
            "ray_actors",
            "on_error",
            "outputs",
            "cache",
            "interactive",
            "viewer",
            "grey_window",
        }
        | {"anonymise", "part", "merged_from"}
    )
    # Fields that may name a file or folder to read; a run records them as absolute paths.
    PATHS: ClassVar[frozenset[str]] = frozenset({"checkpoint", "data_root", "segment_codes"})
    # Fields of a recipe that no mask depends on: changing one reuses the masks.
    NOT_IN_MASKS: ClassVar[frozenset[str]] = frozenset()

    recipe: str
    """Name of the recipe, set by the notebook or the command."""
    profile: str = "demo"
    """File of `params/<recipe>/`, without `.yaml`."""
    target: str = "cpu"
    """File of `params/targets/`, without `.yaml`: the compiler and the device."""
    precision: Precision = "f32"
    """Number format of the compiled model; a target supports some of these."""
    batch_size: int = Field(1, ge=1)
    """Samples or windows per call of the device."""
    batch_gears: list[int] = Field(default_factory=list)
    """Batch sizes compiled into one file, if the target has gears."""
    devices: Literal["all"] | list[int] | None = None
    """Device numbers on an Ascend or MLU host, or all; null: the first."""

    checkpoint: str = "demo"
    """Weights: demo or a file; for nnU-Net also a model folder, or the name or number of its data set."""
    checkpoint_key: str = ""
    """Where the weights are in a checkpoint file, such as `state_dict_ema`; empty: the usual places."""
    data_root: str = "demo"
    """Data folder; demo: generated cases; for nnU-Net also the name or number of a data set."""
    cases: list[str] = Field(default_factory=list)
    """Ids of the cases to run; empty: all."""
    part: str = ""
    """Share of these cases, such as 3/10: of the sorted ids, every tenth from the third on; empty: all."""
    merged_from: list[str] = Field(default_factory=list)
    """Folders of the part runs whose masks this run takes; set by `cookbook merge`."""
    series: str = ""
    """UID or description of the DICOM series of cases with several; of several images: `t1 = AX T1; t2 = AX T2`."""
    allow_shear: bool = False
    """Whether sheared volumes (a tilted gantry) are resampled to perpendicular axes, and their masks back."""
    mask_format: Literal["own", "dicom-seg"] = "own"
    """Form of the masks: own, the recipe's (NIfTI, PNG, …); dicom-seg: a DICOM SEG as well, for DICOM series."""
    segment_codes: str | None = None
    """YAML file with SNOMED codes of classes for DICOM SEG, over `params/segments.yaml`."""
    cases_in_flight: int | None = Field(None, ge=1)
    """Cases that are worked on at once while masks are made; null: by cores, never beyond the free memory."""
    engine: Literal["local", "ray"] = "local"
    """What masks are made with: this process, or actors of a Ray cluster, see docs/many-cases.md."""
    ray_address: Literal["local", "auto"] = "local"
    """The Ray cluster: one of this machine alone, started and ended with the masks, or auto: a running one."""
    ray_actors: int | None = Field(None, ge=1)
    """Actors of the Ray engine; null: one per device, on CPU targets one per node."""
    on_error: Literal["stop", "continue"] = "stop"
    """Whether a case that fails stops the others; either way the run fails."""
    demo_seeds: list[int] = Field(default_factory=list)
    """Seeds of the generated cases, one per case."""

    opset: int = Field(11, ge=9, le=20)
    """ONNX opset of the exported graph."""
    dynamic_batch: bool = True
    """Whether the graph takes any batch size."""
    simplify_timeout_s: float = Field(300.0, gt=0)
    """Seconds after which onnxsim is stopped."""

    atc: AtcOptions = Field(default_factory=AtcOptions)
    """Options of ATC, see docs/ascend.md."""
    shape_mutable: bool = True
    """On an MLU: whether one model takes any batch size."""
    compile_from: Literal["onnx", "torchscript"] = "onnx"
    """On an MLU: the network format that MagicMind parses."""
    builder_config: BuilderConfig = Field(default_factory=BuilderConfig)
    """MagicMind builder configuration, overrides the target's; see docs/magicmind.md."""
    build_timeout_s: float = Field(3600.0, gt=0)
    """Seconds after which a MagicMind build is stopped."""
    quantization_algorithm: Literal["LINEAR_ALGORITHM", "EQNM_ALGORITHM"] = "LINEAR_ALGORITHM"
    """MagicMind's algorithm for the qint precisions."""

    calibration_cases: list[str] = Field(default_factory=list)
    """Ids of the calibration cases; empty: the first that the run does not score."""
    calibration_seeds: list[int] = Field(default_factory=lambda: [9101, 9102, 9103, 9104, 9105, 9106], min_length=1)
    """Seeds of the calibration cases of the demo."""
    calibration_windows: int = Field(3, ge=1)
    """Calibration windows per case."""
    calibration_seed: int = Field(0, ge=0)
    """Seed for the choice of those windows."""

    device_tool: Literal["msame", "benchmark", "ais_bench"] | None = None
    """Vendor tool that replaces the device and is run by hand, see docs/handover.md."""
    device_tool_chips: int = Field(1, ge=1, le=64)
    """Parts that the list of windows is split into for `benchmark`, one per device."""

    fp32_layers: list[str] = Field(default_factory=list)
    """Names of the layers that stay f32 in an int8 model."""

    precision_study: bool = False
    """Whether to compare precisions side by side."""
    study_targets: list[str] = Field(default_factory=list)
    """Targets to compare in addition to the run's own."""
    study_precisions: list[str] = Field(default_factory=list)
    """Precisions to compare; empty: all that each target supports."""
    study_batches: list[int] = Field(default_factory=lambda: [1], min_length=1)
    """Batch sizes to time."""
    study_seconds: float = Field(3.0, gt=0)
    """Seconds to time each batch size."""
    int8_attempts: int = Field(3, ge=1)
    """Models to try if int8 changes a score too much, each with more layers in f32."""

    parity_tolerance: float = Field(1e-4, gt=0)
    """Maximum error against the PyTorch network, as a fraction of its output range."""
    device_tolerance: float | None = Field(None, gt=0)
    """The same for the device; null: as much as the precision usually costs, such as 0.005 in f16."""
    minimum_scores: dict[str, float] | None = None
    """Scores below which the run fails; {}: none; null: demo_minimum_scores, on demo data only."""
    demo_minimum_scores: dict[str, float] = Field(default_factory=dict)
    """Scores that the demo weights must reach on the generated cases."""

    maximum_scores: dict[str, float] = Field(default_factory=dict)
    """Metrics above which the run fails, such as {HD95 WT: 10}; of a volume difference, its size."""
    volume_metrics: bool = True
    """Whether volumes get surface and lesion metrics next to the scores."""
    nsd_tolerance_mm: dict[str, float] = Field(default_factory=dict)
    """Tolerance of NSD by label or region; others: as in params/metrics.yaml."""
    lesion_labels: list[str] | None = None
    """Labels or regions to score lesion by lesion; null: as in params/metrics.yaml."""

    source_score: Literal["bounded", "complete", "skip"] = "bounded"
    """The source's own score; bounded: for as long as the masks took, complete: in full, skip: not at all."""

    outputs: str = "outputs"
    """Folder of the runs."""
    cache: bool = True
    """Whether finished stages are reused."""
    interactive: bool | None = None
    """Whether a user is at the notebook; null: detected."""
    viewer: Literal["auto", "niivue", "slices", "static", "itkwidgets"] = "auto"
    """Viewer for volumes; auto: the best one that works here."""
    grey_window: str | None = None
    """Grey window of pictures, a name in `params/windows.yaml`; null: the recipe's."""
    anonymise: bool = False
    """Whether the report omits names, paths and dates."""

    @model_validator(mode="before")
    @classmethod
    def _rename(cls, content: object) -> object:
        # Records of earlier versions, such as run.json and bundle.json, are read here.
        return rename_parameters(content, cls.model_fields) if isinstance(content, dict) else content

    @field_validator("*", mode="before")
    @classmethod
    def _read_text(cls, value: object, info: ValidationInfo) -> object:
        # `papermill -p` passes only text and numbers: `-p cases a,b`.
        return read_text(cls.model_fields[str(info.field_name)].annotation, value)

    @field_validator("devices", mode="before")
    @classmethod
    def _read_devices(cls, value: object) -> object:
        if value is None or value == "all":
            return value
        numbers = [value] if type(value) is int else split_numbers(value)
        if not isinstance(numbers, list) or not numbers or any(type(each) is not int or each < 0 for each in numbers):
            raise ValueError(_DEVICES)
        if len(set(numbers)) < len(numbers):
            raise ValueError(_DEVICES)
        return numbers

    @field_validator("part")
    @classmethod
    def _check_part(cls, value: str) -> str:
        return str(Part.parse(value)) if value else value

    @classmethod
    def own_fields(cls) -> set[str]:
        """The parameters that a recipe adds to the shared ones."""
        return set(cls.model_fields) - set(RunParams.model_fields)

    def scores_to_reach(self) -> dict[str, float]:
        """The scores below which the run fails.

        These are `minimum_scores` if given, else `demo_minimum_scores` on the demo data. On other data there are
        none: a score is reported, not judged.
        """
        if self.minimum_scores is not None:
            return self.minimum_scores
        return self.demo_minimum_scores if self.data_root == "demo" else {}

    def short_hash(self) -> str:
        """Eight hexadecimal digits that identify all parameters that affect the results; all parts share them."""
        content = self.model_dump(mode="json", exclude=set(self.NOT_HASHED))
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]

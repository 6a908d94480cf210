"""The parameters that every recipe shares; a recipe adds its own by inheriting."""

from __future__ import annotations

import hashlib
import json
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from helpers.params.atc_options import AtcOptions
from helpers.params.builder_config import BuilderConfig
from helpers.params.renamed import rename_parameters
from helpers.params.targets import Precision
from helpers.params.yaml_file import read_text, split_numbers


class RunParams(BaseModel):
    """One run: which weights and data, where, how, and what must hold. `None` means the default."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, protected_namespaces=(), use_attribute_docstrings=True
    )

    # Fields that change where results lie, who looks or how they are shown, never what they are.
    NOT_HASHED: ClassVar[frozenset[str]] = frozenset(
        {"devices", "outputs", "cache", "interactive", "viewer", "grey_window", "anonymise"}
    )
    # A recipe's own fields that no mask depends on: changing one keeps the masks.
    NOT_IN_MASKS: ClassVar[frozenset[str]] = frozenset()

    recipe: str
    """Name of the recipe; the notebook or the command says it."""
    profile: str = "demo"
    """File of `params/<recipe>/`, without `.yaml`."""
    target: str = "cpu"
    """File of `params/targets/`, without `.yaml`: the compiler and the device."""
    precision: Precision = "f32"
    """Numbers of the compiled model; a target runs some of these."""
    batch_size: int = Field(1, ge=1)
    """Samples or windows in one call of the device."""
    batch_gears: list[int] = Field(default_factory=list)
    """Batch sizes compiled into one file, where the target has gears."""
    devices: Literal["all"] | list[int] | None = None
    """Chips of an Ascend or MLU host by number, or all; null: the first."""

    checkpoint: str = "demo"
    """Weights: demo, a file, or for nnU-Net a model folder, its data set's name or number."""
    data_root: str = "demo"
    """Folder of the data; demo: generated cases; for nnU-Net also a data set's name or number."""
    cases: list[str] = Field(default_factory=list)
    """Ids of the cases to do; none named: all."""
    demo_seeds: list[int] = Field(default_factory=list)
    """Seeds of the generated cases, one a case."""

    opset: int = Field(11, ge=9, le=20)
    """ONNX opset of the exported graph."""
    dynamic_batch: bool = True
    """Whether the batch axis of the graph is open."""
    simplify_timeout_s: float = Field(300.0, gt=0)
    """Seconds after which onnxsim is given up."""

    atc: AtcOptions = Field(default_factory=AtcOptions)
    """Options of Ascend's ATC, docs/ascend.md."""
    shape_mutable: bool = True
    """On an MLU: whether one model takes any batch."""
    compile_from: Literal["onnx", "torchscript"] = "onnx"
    """On an MLU: the form of the network that MagicMind parses."""
    builder_config: BuilderConfig = Field(default_factory=BuilderConfig)
    """MagicMind's builder configuration, over the target's, docs/magicmind.md."""
    build_timeout_s: float = Field(3600.0, gt=0)
    """Seconds after which MagicMind's build is given up."""
    quantization_algorithm: Literal["LINEAR_ALGORITHM", "EQNM_ALGORITHM"] = "LINEAR_ALGORITHM"
    """MagicMind's, for the qint precisions."""

    calibration_cases: list[str] = Field(default_factory=list)
    """Ids of the cases to calibrate with; none named: the first that the run does not score."""
    calibration_seeds: list[int] = Field(default_factory=lambda: [9101, 9102, 9103, 9104, 9105, 9106], min_length=1)
    """Seeds of the cases to calibrate with on the demo data."""
    calibration_windows: int = Field(3, ge=1)
    """Windows of each case to calibrate with."""
    calibration_seed: int = Field(0, ge=0)
    """Draws those windows."""

    device_tool: Literal["msame", "benchmark", "ais_bench"] | None = None
    """Vendor's tool that does the device's part by hand, docs/handover.md."""
    device_tool_chips: int = Field(1, ge=1, le=64)
    """Parts of the list of windows, one a chip, for `benchmark`."""

    fp32_layers: list[str] = Field(default_factory=list)
    """Layers of an int8 model that stay f32, by name."""

    precision_study: bool = False
    """Whether to compare precisions side by side."""
    study_targets: list[str] = Field(default_factory=list)
    """Targets to compare beside the run's own."""
    study_precisions: list[str] = Field(default_factory=list)
    """Precisions to compare; none named: all that each target runs."""
    study_batches: list[int] = Field(default_factory=lambda: [1], min_length=1)
    """Batch sizes to time."""
    study_seconds: float = Field(3.0, gt=0)
    """Seconds to time each of them."""
    int8_attempts: int = Field(3, ge=1)
    """Models to try where int8 changes a score too much, with more layers in f32 each."""

    parity_tolerance: float = Field(1e-4, gt=0)
    """Largest error against the network in PyTorch, as a fraction of its output's range."""
    minimum_scores: dict[str, float] | None = None
    """Scores below which the run fails; {}: none; null: those of the demo, on its data only."""
    demo_minimum_scores: dict[str, float] = Field(default_factory=dict)
    """Scores that the demo weights reach on the generated cases."""

    outputs: str = "outputs"
    """Folder for runs."""
    cache: bool = True
    """Whether steps that are done already are reused."""
    interactive: bool | None = None
    """Whether somebody looks on; null finds out."""
    viewer: Literal["auto", "niivue", "slices", "static", "itkwidgets"] = "auto"
    """What shows volumes; auto: the best that works here."""
    grey_window: str | None = None
    """Name in `params/windows.yaml`, for pictures; null: the recipe's own."""
    anonymise: bool = False
    """Whether the report leaves out names, paths and dates."""

    @model_validator(mode="before")
    @classmethod
    def _rename(cls, content: object) -> object:
        # Records of earlier versions, such as run.json and bundle.json, are read here.
        return rename_parameters(content, cls.model_fields) if isinstance(content, dict) else content

    @field_validator("*", mode="before")
    @classmethod
    def _read_text(cls, value: object, info: ValidationInfo) -> object:
        # papermill's -p passes text and numbers only: `-p cases a,b`.
        return read_text(cls.model_fields[info.field_name].annotation, value)

    @field_validator("devices", mode="before")
    @classmethod
    def _read_devices(cls, value: object) -> object:
        if value is None or value == "all":
            return value
        numbers = [value] if type(value) is int else split_numbers(value)
        whole = isinstance(numbers, list) and all(type(number) is int and number >= 0 for number in numbers)
        if not whole or not numbers or len(set(numbers)) < len(numbers):
            raise ValueError("all, or different numbers of chips from 0 on")
        return numbers

    @classmethod
    def own_fields(cls) -> set[str]:
        """The parameters that a recipe adds to the shared ones."""
        return set(cls.model_fields) - set(RunParams.model_fields)

    def scores_to_reach(self) -> dict[str, float]:
        """The scores below which the run fails.

        `minimum_scores` when given; else, on the demo data whose truth is known, the recipe's own; else none:
        a score on somebody's data is reported, not judged.
        """
        if self.minimum_scores is not None:
            return self.minimum_scores
        return self.demo_minimum_scores if self.data_root == "demo" else {}

    def short_hash(self) -> str:
        """Eight hexadecimal digits that name everything that decides the results."""
        content = self.model_dump(mode="json", exclude=set(self.NOT_HASHED))
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]

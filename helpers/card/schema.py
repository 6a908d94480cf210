"""The model card: everything that a model file does not say about itself, as typed sections of a YAML file."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

CASE = "{case}"  # stands for the id of a case in a file pattern


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        protected_namespaces=(),
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )


class ModelSection(_Section):
    """Where the network comes from, and its ports."""

    file: str | None = None
    """Model file, relative to the card: .onnx, TorchScript (.pt, .ts) or torch.export (.pt2)."""
    factory: str | None = None
    """module:callable that returns the network as a torch module; needs the consent `-p run_factory true`."""
    arguments: dict[str, object] = Field(default_factory=dict)
    """Keyword arguments of the factory."""
    checkpoint: str | None = None
    """Weights of the factory's network, relative to the card."""
    input: str | None = None
    """Name of the input; null: the only one."""
    output: str | int | None = None
    """Name of the output, or its position, counted from 0; null: the first."""
    layout: Literal["channels_first", "channels_last"] = "channels_first"
    """Order of the axes: (N, C, ...) or (N, ..., C)."""
    batch_axis: Literal[0, 1] = 0
    """Batch axis of the output."""

    @model_validator(mode="after")
    def _has_one_source(self) -> ModelSection:
        if (self.file is None) == (self.factory is None):
            raise ValueError("either file or factory")
        if self.file is not None and (self.checkpoint or self.arguments):
            raise ValueError("checkpoint and arguments only next to factory: a file has its own weights")
        return self


class DataSection(_Section):
    """The files of a case."""

    kind: Literal["picture", "volume"]
    """Pictures (.png, .jpg, .tif, .npy) or volumes (.nii.gz, .nrrd, .mha)."""
    files: dict[str, str] = Field(min_length=1)
    """Channel: file pattern below data_root, with {case} in it; one pattern if one file has all channels."""
    truth: str | None = None
    """File pattern of the true masks; null: none."""
    colour: Literal["rgb", "bgr", "grey", "as_stored"] = "rgb"
    """How the pixels of a picture file become channels."""
    truth_values: dict[str, list[int]] = Field(default_factory=dict)
    """Class: its values in the true masks, if they differ from those in classes."""
    ignore: list[int] = Field(default_factory=list)
    """Values of the true masks that no score counts."""

    @field_validator("files", mode="before")
    @classmethod
    def _one_pattern(cls, value: object) -> object:
        return {"image": value} if isinstance(value, str) else value

    @field_validator("files", "truth")
    @classmethod
    def _names_the_case(cls, value: dict[str, str] | str | None) -> dict[str, str] | str | None:
        for pattern in value.values() if isinstance(value, dict) else filter(None, [value]):
            if CASE not in pattern:
                raise ValueError(f"{CASE} where the name of the case is, such as images/{CASE}.png")
            if pattern.startswith("/") or ".." in pattern.split("/"):
                raise ValueError("a pattern below data_root, without .. and without a leading /")
        return value


class MeanStd(_Section):
    """One number for all channels, or one per channel."""

    mean: list[float] = Field(min_length=1)
    std: list[float] = Field(min_length=1)


class ZScore(_Section):
    """Subtracts the mean of the image and divides by its standard deviation."""

    per_channel: bool = True
    nonzero: bool = False
    """Whether only voxels other than 0 count and change, as for skull-stripped MRI."""


class Percentiles(_Section):
    """Clips to two percentiles of the image and scales what is between them to 0..1."""

    low: float = Field(default=0.5, ge=0, le=100)
    high: float = Field(default=99.5, ge=0, le=100)
    per_channel: bool = False


class CtWindow(_Section):
    """Clips to a window in Hounsfield units and scales it to 0..1."""

    centre: float
    width: float = Field(gt=0)


class IntensityStep(_Section):
    """One step from stored intensities to the network's input; exactly one of these."""

    scale: float | None = None
    """Factor."""
    range: list[float] | None = Field(None, min_length=2, max_length=2)
    """[low, high] is scaled to 0..1, without clipping."""
    clip: list[float] | None = Field(None, min_length=2, max_length=2)
    """[low, high]."""
    mean_std: MeanStd | None = None
    z_score: ZScore | None = None
    percentiles: Percentiles | None = None
    ct_window: CtWindow | None = None

    @model_validator(mode="after")
    def _is_one_step(self) -> IntensityStep:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"one step per item of the list: one of {', '.join(type(self).model_fields)}")
        return self


class PreparationSection(_Section):
    """From a case to the network's input, and back."""

    fit: Literal["resize", "letterbox", "pad", "window"]
    """How a case gets the network's size."""
    size: list[int] | None = Field(None, min_length=2, max_length=3)
    """[height, width] or [depth, height, width] of the network's input; null: as fixed in the model file."""
    axes: str = Field("zyx", pattern="^(zyx|xyz|[RLAPSI]{3})$")
    """Order of the network's spatial axes: zyx (slices or rows first), xyz (x first), or directions such as RAS."""
    spacing_mm: list[float] | None = Field(None, min_length=3, max_length=3)
    """Volumes are resampled to this spacing first, in the order of axes; null: as stored."""
    tile_step_size: float = Field(0.5, gt=0, le=1)
    """Distance between windows as a fraction of the window: 1 - overlap."""
    gaussian: bool = True
    """Whether the centre of a window weighs more than its border."""
    mirror_axes: list[Literal[0, 1, 2]] = Field(default_factory=list)
    """Axes of test-time mirroring of windows; empty: none."""
    interpolation: Literal["linear", "cubic", "nearest"] = "linear"
    """Of the image; scores are always resized linearly."""
    antialias: bool = True
    """Whether a picture is smoothed when it shrinks, as Pillow does and OpenCV does not."""
    anchor: Literal["centre", "top_left"] = "centre"
    """Where letterbox and pad put the image."""
    pad_value: float = 0.0
    """Around the image, after the intensity steps."""
    intensity: list[IntensityStep] = Field(default_factory=list)
    """Steps, in order; empty: values as stored."""


class OutputSection(_Section):
    """What comes out of the network."""

    kind: Literal["logits", "probabilities", "label_map"]
    """Scores of any range, scores in 0..1, or the numbers of the classes."""
    activation: Literal["softmax", "sigmoid"] | None = None
    """softmax: one channel per class; sigmoid: one per class but the background. Null: sigmoid for one channel."""
    threshold: float = Field(0.5, gt=0, lt=1)
    """Probability above which a sigmoid class is present; of several, the last in the list of classes wins."""


class MaskSection(_Section):
    """How masks are written."""

    suffix: str | None = None
    """.png for pictures; .nii.gz, .nii, .nrrd or .mha for volumes; null: .png or .nii.gz."""
    palette: bool = False
    """Whether a PNG is in colours, with the class values as indices."""


class ScoresSection(_Section):
    """Which scores count."""

    per_class: list[Literal["Dice", "IoU"]] = Field(default=["Dice", "IoU"], min_length=1)
    """For each class but the background."""
    regions: dict[str, list[str]] = Field(default_factory=dict)
    """Region: classes that are scored as one, such as whole_tumour: [core, oedema]."""


class ModelCard(_Section):
    """A whole card."""

    title: str = Field("Own model", min_length=1)
    """Name in tables and pictures."""
    model: ModelSection
    data: DataSection
    preparation: PreparationSection
    output: OutputSection
    classes: dict[str, int] = Field(min_length=2, max_length=256)
    """Class: its value in masks. The background first."""
    masks: MaskSection = Field(default_factory=MaskSection)
    scores: ScoresSection = Field(default_factory=ScoresSection)

    @field_validator("classes", mode="before")
    @classmethod
    def _names_first(cls, value: object) -> object:
        if isinstance(value, list):
            return {name: index for index, name in enumerate(value)}
        if isinstance(value, dict) and any(not isinstance(name, str) for name in value):
            raise ValueError('the name first, then its value in masks, such as `car: 1`; quote names like "no"')
        return value

    @field_validator("classes")
    @classmethod
    def _fit_a_mask(cls, value: dict[str, int]) -> dict[str, int]:
        if len(set(value.values())) < len(value) or not all(0 <= number <= 255 for number in value.values()):
            raise ValueError("different values from 0 to 255")
        return value

    @property
    def is_volume(self) -> bool:
        """Whether cases are volumes."""
        return self.data.kind == "volume"

    @property
    def foreground(self) -> dict[str, int]:
        """Index of every class but the background, by name."""
        return {name: index for index, name in enumerate(self.classes) if index}

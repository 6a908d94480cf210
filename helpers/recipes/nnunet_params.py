"""Parameters of the nnU-Net family: which model of a folder, its rules, and which cases it was trained on."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from helpers.params.model import RunParams


class NnunetParams(RunParams):
    """Parameters of the family on top of the shared ones; what they leave out stands in the plan."""

    NOT_IN_MASKS: ClassVar[frozenset[str]] = frozenset({"split", "ref_folder", "source_cases"})

    fold: int | str = 0
    """Fold of a model folder; all: nnU-Net's model of all cases."""
    folds: list[int | str] | Literal["all"] | None = None
    """Several folds, averaged as their version averages; all: every one that is there."""
    as_version: Literal[1, 2] | None = None
    """Rules of that version of nnU-Net (order of preparation, what is averaged) instead of the model folder's own."""
    step: float = Field(0.5, gt=0, le=1)
    """Distance of windows as a fraction of the window."""
    gaussian: bool = True
    """Whether a window's middle weighs more than its rim."""
    mirror_axes: list[int] | None = None
    """Axes to mirror windows along, averaged; null: as the model was trained."""
    keep_largest: bool = True
    """Whether `postprocessing.json` of the model folder is applied."""
    reuse_constant_windows: bool = False
    """Asks once about windows of one value, such as air; changes no voxel."""
    save_softmax: bool = False
    """Keeps each case's probabilities beside its mask, in the form of the model's version."""
    split: Literal["validation", "all"] | None = None
    """data_root is the model's training set: the fold's held-out cases or all; only held-out ones count in means."""
    ref_folder: str | None = None
    """Labels that lie elsewhere."""
    source_cases: int = Field(2, ge=1)
    """Cases for the source's own score."""

    @field_validator("checkpoint", "data_root", mode="before")
    @classmethod
    def _data_set_by_number(cls, value: object) -> object:
        return str(value) if type(value) is int else value

    @field_validator("folds", mode="before")
    @classmethod
    def _split_folds(cls, value: object) -> object:
        # papermill's -p passes text only: `-p folds 0,1`.
        if not isinstance(value, str) or value == "all":
            return value
        names = [name.strip() for name in value.split(",") if name.strip()]
        return [int(name) if name.isdigit() else name for name in names]

    @property
    def wanted_folds(self) -> list[int | str] | None:
        """The folds to open; None for every one that is there."""
        if self.folds == "all":
            return None
        return [self.fold] if self.folds is None else list(self.folds)


class HeartParams(NnunetParams):
    """Adds the two forms of the heart's model, and the source's own passes."""

    variant: Literal["2d", "3d"] | None = None
    """Form of the model; null: its own. The demo weights are 2-D."""
    passes: Literal["right", "source_python", "source_cpp"] = "right"
    """How the four mirrored passes of a slice become a mask; the source's two programs do it wrongly."""

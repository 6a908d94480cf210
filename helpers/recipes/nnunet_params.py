"""Parameters of the nnU-Net family: which model of a folder, its rules, and which cases it was trained on."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from helpers.params.model import RunParams


class NnunetParams(RunParams):
    """Parameters of the family on top of the shared ones; what they leave out stands in the plan.

    Attributes:
        fold: of a model folder; "all" is nnU-Net's model of all cases.
        folds: several of them, averaged as their version averages; "all" takes every fold that is there.
        as_version: rules of that version of nnU-Net (order of resampling and normalising, what is averaged, the axis
            that goes back by its nearest slice) instead of those of the model folder's own.
        reuse_constant_windows: asks the network once about windows of one value, such as air; changes no voxel.
        save_softmax: keeps each case's probabilities beside its mask, in the form of that version.
        split: data_root is the model's own training set: "validation" runs the fold's held-out cases, "all" every
            case; either way only held-out ones count in the means.
    """

    NOT_IN_MASKS: ClassVar[frozenset[str]] = frozenset({"split", "ref_folder", "source_cases"})

    fold: int | str = 0
    folds: list[int | str] | Literal["all"] | None = None
    as_version: Literal[1, 2] | None = None
    step: float = Field(0.5, gt=0, le=1)
    gaussian: bool = True
    mirror_axes: list[int] | None = None
    keep_largest: bool = True
    reuse_constant_windows: bool = False
    save_softmax: bool = False
    split: Literal["validation", "all"] | None = None
    ref_folder: str | None = None
    source_cases: int = Field(2, ge=1)

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
    """Adds the two forms of the heart's model, and the source's own passes.

    Attributes:
        variant: "2d" or "3d"; the model folder's own when left out. The demo weights are 2-D.
        passes: how the four mirrored passes of a slice become a mask; the source's two programs do it wrongly.
    """

    variant: Literal["2d", "3d"] | None = None
    passes: Literal["right", "source_python", "source_cpp"] = "right"

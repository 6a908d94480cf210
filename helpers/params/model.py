"""The parameters that every recipe shares; a recipe adds its own by inheriting."""

from __future__ import annotations

import hashlib
import json
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from helpers.params.atc_options import AtcOptions
from helpers.params.builder_config import BuilderConfig
from helpers.params.targets import Precision
from helpers.params.text import read_text, split_numbers


class RunParams(BaseModel):
    """One run: which weights and data, where, how, and what must hold. `None` means the default."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())

    # Fields that change where results lie, who looks or how they are shown, never what they are.
    NOT_HASHED: ClassVar[frozenset[str]] = frozenset(
        {"devices", "outputs", "cache", "interactive", "viewer", "grey_window", "anonymise"}
    )
    # A recipe's own fields that no mask depends on: changing one keeps the masks.
    NOT_IN_MASKS: ClassVar[frozenset[str]] = frozenset()

    recipe: str
    profile: str = "demo"
    target: str = "cpu"
    precision: Precision = "f32"
    batch_size: int = Field(1, ge=1)
    batch_gears: list[int] = Field(default_factory=list)
    devices: Literal["all"] | list[int] | None = None  # chips by number; None: the first

    checkpoint: str = "demo"
    data_root: str = "demo"
    cases: list[str] = Field(default_factory=list)
    demo_seeds: list[int] = Field(default_factory=list)

    opset: int = Field(11, ge=9, le=20)
    dynamic_batch: bool = True
    simplify_timeout_s: float = Field(300.0, gt=0)

    atc: AtcOptions = Field(default_factory=AtcOptions)
    shape_mutable: bool = True
    compile_from: Literal["onnx", "torchscript"] = "onnx"
    builder_config: BuilderConfig = Field(default_factory=BuilderConfig)
    build_timeout_s: float = Field(3600.0, gt=0)
    quantization_algorithm: Literal["LINEAR_ALGORITHM", "EQNM_ALGORITHM"] = "LINEAR_ALGORITHM"

    calibration_cases: list[str] = Field(default_factory=list)
    calibration_seeds: list[int] = Field(default_factory=lambda: [9101, 9102, 9103, 9104, 9105, 9106], min_length=1)
    calibration_windows: int = Field(3, ge=1)
    calibration_seed: int = Field(0, ge=0)

    device_tool: Literal["msame", "benchmark", "ais_bench"] | None = None
    device_tool_chips: int = Field(1, ge=1, le=64)

    keep_precise: list[str] = Field(default_factory=list)

    precision_study: bool = False
    study_targets: list[str] = Field(default_factory=list)
    study_precisions: list[str] = Field(default_factory=list)
    study_batches: list[int] = Field(default_factory=lambda: [1], min_length=1)
    study_seconds: float = Field(3.0, gt=0)
    int8_attempts: int = Field(3, ge=1)

    parity_tolerance: float = Field(1e-4, gt=0)
    minimum_scores: dict[str, float] | None = None
    demo_minimum_scores: dict[str, float] = Field(default_factory=dict)

    outputs: str = "outputs"
    cache: bool = True
    interactive: bool | None = None
    viewer: Literal["auto", "niivue", "slices", "static", "itkwidgets"] = "auto"
    grey_window: str | None = None  # of params/windows.yaml; None: the recipe's own
    anonymise: bool = False  # the report without names, paths and dates

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

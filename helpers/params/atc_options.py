"""Options of Ascend's ATC as run parameters, checked before the program starts."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

PrecisionMode = Literal[
    "force_fp16",
    "force_fp32",
    "cube_fp16in_fp32out",
    "allow_fp32_to_fp16",
    "must_keep_origin_dtype",
    "allow_mix_precision",
    "allow_mix_precision_fp16",
    "allow_mix_precision_bf16",
    "allow_fp32_to_bf16",
]
PrecisionModeV2 = Literal[
    "fp16", "origin", "cube_fp16in_fp32out", "mixed_float16", "mixed_bfloat16", "mixed_hif8", "cube_hif8"
]
ImplementationMode = Literal[
    "high_precision", "high_performance", "high_precision_for_all", "high_performance_for_all"
]


class AtcOptions(BaseModel):
    """The options of ATC in addition to graph, shapes and precision.

    Attributes:
        soc_version: the SoC, if the target does not fix it; None asks `npu-smi`.
        cann: version of CANN that a command to copy is meant for; on a machine with CANN it is detected.
        precision_mode, precision_mode_v2: override the mode that follows from `precision`.
        keep_f32: op names that stay in f32, or `OpType::X` for all ops of a type.
        op_select_implmode, optypelist_for_implmode: accuracy or speed, for all or some op types.
        out_nodes: `node:index` or output names that replace the outputs of the graph.
        output_type: the type of the outputs, instead of the graph's.
        f16_input: whether the input is float16, which halves the bytes to copy.
        dims_gears: complete input shapes [N, C, *spatial] to compile into one file.
        log: the log level of ATC.
        timeout_s: seconds after which ATC is stopped.
        extra: further options in ATC's form, `--name=value`.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    soc_version: str | None = None
    cann: str | None = None
    precision_mode: PrecisionMode | None = None
    precision_mode_v2: PrecisionModeV2 | None = None
    keep_f32: list[str] = Field(default_factory=list)
    op_select_implmode: ImplementationMode | None = None
    optypelist_for_implmode: list[str] = Field(default_factory=list)
    out_nodes: list[str] = Field(default_factory=list)
    output_type: Literal["FP32", "FP16", "UINT8", "INT8", "INT32", "INT64"] | None = None
    f16_input: bool = False
    dims_gears: list[list[int]] = Field(default_factory=list)
    log: Literal["debug", "info", "warning", "error", "null"] = "error"
    timeout_s: float = Field(default=7200.0, gt=0)
    extra: list[str] = Field(default_factory=list)

    @field_validator("soc_version")
    @classmethod
    def _is_a_soc(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"Ascend\w+(-\d)?", value):
            raise ValueError("a name such as Ascend310P3")
        return value

    @field_validator("cann")
    @classmethod
    def _is_a_release(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"\d+\.\d+", value):
            raise ValueError("a release such as 8.0.RC1, in quotes")
        return value

    @field_validator("extra")
    @classmethod
    def _are_options(cls, value: list[str]) -> list[str]:
        if any(not option.startswith("--") or "=" not in option for option in value):
            raise ValueError("options of the form --name=value")
        return value

    @model_validator(mode="after")
    def _one_precision(self) -> AtcOptions:
        if self.precision_mode and self.precision_mode_v2:
            raise ValueError("precision_mode or precision_mode_v2, not both")
        if self.optypelist_for_implmode and not self.op_select_implmode:
            raise ValueError("op_select_implmode as well as optypelist_for_implmode")
        if self.dims_gears and not 2 <= len({tuple(gear) for gear in self.dims_gears}) == len(self.dims_gears) <= 100:
            raise ValueError("2 to 100 distinct shapes in dims_gears")
        if len({len(gear) for gear in self.dims_gears}) > 1:
            raise ValueError("dims_gears of equal rank")
        return self

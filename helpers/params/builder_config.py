"""MagicMind's builder configuration: the keys and values that its public samples use.

Source: Cambricon/magicmind_cloud, `buildin/python_common/build_param.py`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, field_validator

Arch = Literal["mtp_220", "mtp_270", "mtp_290", "mtp_372", "tp_322", "mtp_592"]
Layout = Literal["NCHW", "NHWC", "NCDHW", "NDHWC", "NCT", "NTC"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PrecisionConfig(_Section):
    """Quantisation settings; the mode follows from the parameter `precision`."""

    precision_mode: str | None = None
    activation_quant_algo: Literal["symmetric", "asymmetric"] | None = None
    weight_quant_granularity: Literal["per_tensor", "per_axis"] | None = None

    @field_validator("precision_mode")
    @classmethod
    def _is_a_parameter(cls, _value: str) -> str:
        raise ValueError("no value here; set the parameter `precision`")


class OptConfig(_Section):
    """Graph optimisations; without the first one a graph with 64-bit tensors is rejected."""

    type64to32_conversion: bool | None = None
    conv_scale_fold: bool | None = None


class LayoutChange(_Section):
    """The layout in the graph and the one of the built model."""

    src: Layout
    dst: Layout


class DimRange(_Section):
    """The minimum and maximum size of each axis, in the layout of the graph."""

    min: list[int]
    max: list[int]


class BuilderConfig(_Section):
    """The builder configuration, by the vendor's names; inputs and outputs are numbered "0", "1", ...

    `None` omits a key. `graph_shape_mutable`, `precision_config.precision_mode` and
    `insert_bn_before_firstnode` are refused here: parameters decide the first two, and the recipes normalise
    their input before the device.
    """

    archs: list[dict[Arch, list[int]]] | None = None
    precision_config: PrecisionConfig | None = None
    opt_config: OptConfig | None = None
    dim_range: dict[str, DimRange] | None = None
    convert_input_layout: dict[str, LayoutChange] | None = None
    convert_output_layout: dict[str, LayoutChange] | None = None
    computation_preference: Literal["auto", "fast", "high_precision"] | None = None
    custom_ranges: dict[str, dict[str, list[float]]] | None = None
    debug_config: dict[str, object] | None = None
    cross_compile_toolchain_path: str | None = None
    graph_shape_mutable: bool | None = None
    insert_bn_before_firstnode: dict[str, object] | None = None

    @field_validator("graph_shape_mutable")
    @classmethod
    def _is_a_parameter(cls, _value: bool) -> bool:
        raise ValueError("no value here; set the parameter `shape_mutable`")

    @field_validator("insert_bn_before_firstnode")
    @classmethod
    def _is_the_recipes(cls, _value: dict) -> dict:
        raise ValueError("no value here; the recipe normalises the input before the device")

    def given(self) -> dict:
        """The keys that were set, as JSON values."""
        return self.model_dump(mode="json", exclude_none=True)

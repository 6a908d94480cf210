"""MagicMind's builder configuration as data: the keys and values that its public samples use, and no others.

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
    """How numbers are kept; the mode itself is the run's `precision`."""

    precision_mode: str | None = None
    activation_quant_algo: Literal["symmetric", "asymmetric"] | None = None
    weight_quant_granularity: Literal["per_tensor", "per_axis"] | None = None

    @field_validator("precision_mode")
    @classmethod
    def _is_a_parameter(cls, _value: str) -> str:
        raise ValueError("nothing here: the parameter `precision` decides it")


class OptConfig(_Section):
    """Graph optimisations; without the first one a graph with 64-bit tensors is refused."""

    type64to32_conversion: bool | None = None
    conv_scale_fold: bool | None = None


class LayoutChange(_Section):
    """The graph's layout and the one that the built model is fed in."""

    src: Layout
    dst: Layout


class DimRange(_Section):
    """Smallest and largest size of each axis, in the graph's own layout."""

    min: list[int]
    max: list[int]


class BuilderConfig(_Section):
    """What the builder is told, by the vendor's names; inputs and outputs are counted "0", "1", ...

    `None` leaves a key out. `graph_shape_mutable`, `precision_config.precision_mode` and
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
        raise ValueError("nothing here: the parameter `shape_mutable` decides it")

    @field_validator("insert_bn_before_firstnode")
    @classmethod
    def _is_the_recipes(cls, _value: dict) -> dict:
        raise ValueError("nothing here: the recipe normalises its input before the device")

    def given(self) -> dict:
        """Only the keys that were set, as JSON values."""
        return self.model_dump(mode="json", exclude_none=True)

"""Assembles MagicMind's builder configuration from the target, the run's parameters and the user's keys."""

from __future__ import annotations

from collections.abc import Mapping

from helpers.errors import ParameterError
from helpers.graph.spec import GraphSpec

# MagicMind's names of the float precisions; the quantised precisions have MagicMind's names here too.
_PRECISION_MODES = {"f32": "force_float32", "f16": "force_float16"}
# Maximum batch of a mutable model: 64 slices as in the source; few volumes, because memory is reserved for them.
_MAXIMUM_BATCH = {3: 64, 4: 4}
_LAYOUTS = {3: ("NCHW", "NHWC"), 4: ("NCDHW", "NDHWC")}


def assemble_builder_config(
    target_config: Mapping, given: Mapping, spec: GraphSpec, *, precision: str, shape_mutable: bool, output_rank: int
) -> dict:
    """Assembles the complete configuration as JSON values.

    Args:
        target_config: the target's keys (archs, optimisations).
        given: the user's keys, which override all others.
        spec: names and shapes of the graph.
        precision: of the run.
        shape_mutable: whether the model accepts a range of batch sizes instead of one.
        output_rank: axes of the graph's output; a class map without a channel axis keeps its layout.

    Raises:
        ParameterError: a range or a layout does not fit the graph.
    """
    config: dict = {}
    _merge(config, target_config)
    _merge(config, {"precision_config": {"precision_mode": _PRECISION_MODES.get(precision, precision)}})
    _merge(config, {"graph_shape_mutable": shape_mutable})
    _merge(config, _layouts(spec, output_rank))
    if shape_mutable:
        maximum = max(_MAXIMUM_BATCH.get(len(spec.input_shape), 1), spec.batch_size)
        dim_range = {"min": list(spec.batch_shape(1)), "max": list(spec.batch_shape(maximum))}
        _merge(config, {"dim_range": {"0": dim_range}})
    _merge(config, given)
    _check_layouts(config, spec, output_rank)
    _check_range(config, spec)
    return config


def allowed_batches(config: Mapping, spec: GraphSpec) -> list[int]:
    """The batch sizes that a model with this configuration accepts."""
    if not config["graph_shape_mutable"]:
        return [spec.batch_size]
    dim_range = config["dim_range"]["0"]
    return list(range(dim_range["min"][0], dim_range["max"][0] + 1))


def layout_of(config: Mapping, side: str) -> tuple[str, str] | None:
    """The layouts of the "input" or "output" in the graph and in the model; None if they are the same."""
    change = config.get(f"convert_{side}_layout", {}).get("0")
    return (change["src"], change["dst"]) if change and change["src"] != change["dst"] else None


def _layouts(spec: GraphSpec, output_rank: int) -> dict:
    # MLUs compute in channels-last layouts; like the source, the model converts its inputs and outputs itself.
    source, device = _LAYOUTS[len(spec.input_shape)]
    change = {"0": {"src": source, "dst": device}}
    has_channels = output_rank == len(source) and spec.output_batch_axis == 0
    outputs = {"convert_output_layout": change} if has_channels else {}
    return {"convert_input_layout": change, **outputs}


def _check_layouts(config: Mapping, spec: GraphSpec, output_rank: int) -> None:
    for side, rank in (("input", len(spec.input_shape) + 1), ("output", output_rank)):
        for change in config.get(f"convert_{side}_layout", {}).values():
            if len(change["src"]) != rank or sorted(change["src"]) != sorted(change["dst"]):
                raise ParameterError(
                    f"builder_config.convert_{side}_layout does not fit the graph",
                    received=f"{change['src']} to {change['dst']}",
                    expected=f"two permutations of the same {rank} axes",
                )


def _check_range(config: Mapping, spec: GraphSpec) -> None:
    ranges = config.get("dim_range", {})
    if config["graph_shape_mutable"] and not spec.dynamic_batch:
        raise ParameterError(
            "a graph with a fixed batch cannot become a mutable model",
            received="dynamic_batch: false, shape_mutable: true",
            remedy="Set shape_mutable: false, or export with a dynamic batch.",
        )
    if not config["graph_shape_mutable"] and not ranges:
        return
    dim_range = ranges.get("0", {"min": [], "max": []})
    low, high, window = dim_range["min"], dim_range["max"], list(spec.input_shape)
    fits = set(ranges) == {"0"} and low[1:] == high[1:] == window
    if not (fits and config["graph_shape_mutable"] and 1 <= low[0] <= spec.batch_size <= high[0]):
        raise ParameterError(
            "builder_config.dim_range does not fit the graph, its batch or shape_mutable",
            received=f"{ranges}, shape_mutable {config['graph_shape_mutable']}",
            expected=f'"0" from [minimum, {", ".join(map(str, window))}] to [maximum, ...] that includes batch '
            f"{spec.batch_size}, in a mutable model",
        )


def _merge(into: dict, more: Mapping) -> None:
    """Adds the keys of `more`; sections are merged key by key."""
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = _copy(value)


def _copy(value: object) -> object:
    return {key: _copy(member) for key, member in value.items()} if isinstance(value, Mapping) else value

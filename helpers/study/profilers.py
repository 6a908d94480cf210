"""Times every node of a model by its runtime's clock: OpenVINO's counters, ONNX Runtime's and torch's profilers."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from helpers.devices.sessions.onnxruntime_session import OnnxRuntimeSession
from helpers.devices.sessions.openvino_session import OpenVinoSession
from helpers.devices.sessions.torch_session import TorchSession
from helpers.errors import DeviceError
from helpers.graph.read import load_graph
from helpers.graph.work import GraphWork

Feeds = Mapping[str, np.ndarray]
# What a runtime inserts to change the order of a tensor's values in memory, or their type.
LAYOUT_KINDS = frozenset({"Reorder", "ReorderInput", "ReorderOutput", "Convert"})
_UNTIMED = frozenset({"Parameter", "Result", "Const", "Input", "Output"})


@dataclass(frozen=True)
class Kernel:
    """One node as the runtime executes it.

    Attributes:
        name, kind: as the runtime calls it.
        seconds: mean of a call.
        nodes: the nodes of the graph that it computes; empty for one that the runtime inserted.
        precision: in which it computes, such as f32.
        processor: where it ran, such as CPU.
        implementation: the runtime's name for its code; empty if it tells none.
    """

    name: str
    kind: str
    seconds: float
    nodes: tuple[str, ...] = ()
    precision: str = ""
    processor: str = "CPU"
    implementation: str = ""

    @property
    def is_reference(self) -> bool:
        """Whether the runtime had no fast code for it and ran its plain reference."""
        return self.implementation.startswith("ref")


class Profiler(Protocol):
    """An opened model whose nodes are timed."""

    def __enter__(self) -> Profiler: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def call(self, feeds: Feeds) -> None:
        """Runs one batch."""

    def start(self) -> None:
        """Ends the warm-up: only the calls from here on count."""

    def kernels(self) -> list[Kernel]:
        """The executed nodes in order, once all calls were made."""


def open_profiler(runtime: str, path: Path, work: GraphWork, *, precision: str, device: str) -> Profiler:
    """Opens a compiled model so that its nodes are timed.

    Args:
        runtime: of the target that runs it.
        path: the compiled model.
        work: of the graph that was compiled.
        precision, device: as the run's own device is opened.

    Raises:
        DeviceError: nodes of this runtime are timed by the vendor's own tool.
    """
    if runtime not in _PROFILERS:
        raise DeviceError(
            f"nodes on {runtime} are timed by the vendor's own profiler",
            expected=f"a target of {', '.join(_PROFILERS)}",
            remedy="Run the vendor's profiler there and pass its file with --from.",
        )
    return _PROFILERS[runtime](path, work, {"precision": precision, "device": device})


class OpenVinoProfiler:
    """OpenVINO's performance counters, which average over all calls since the model was opened."""

    def __init__(self, path: Path, work: GraphWork, options: Mapping[str, Any]):
        import openvino

        self._session = OpenVinoSession(path, count_nodes=True, **options)
        self._calls = self._warm_calls = 0
        self._warm: dict[str, float] = {}
        self._covers = _map_openvino_ops(openvino.Core().read_model(str(path)), work)
        self._processor = options["device"]

    def __enter__(self) -> OpenVinoProfiler:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def call(self, feeds: Feeds) -> None:
        """As `Profiler.call`."""
        self._session.run(feeds)
        self._calls += 1

    def start(self) -> None:
        """As `Profiler.start`."""
        self._warm_calls = self._calls
        self._warm = {op.get_friendly_name(): micros for op, micros in self._session.counters()}

    def kernels(self) -> list[Kernel]:
        """As `Profiler.kernels`."""
        counted = self._calls - self._warm_calls
        found = []
        for op, micros in self._session.counters():
            name, facts = op.get_friendly_name(), {key: str(value.astype(str)) for key, value in op.rt_info.items()}
            if facts["layerType"] in _UNTIMED:
                continue
            total = micros * self._calls - self._warm.get(name, 0.0) * self._warm_calls
            found.append(
                Kernel(
                    name,
                    facts["layerType"],
                    max(total, 0.0) / counted / 1e6,
                    self._nodes(facts["originalLayersNames"]),
                    facts["runtimePrecision"],
                    self._processor,
                    facts["primitiveType"],
                )
            )
        return found

    def _nodes(self, originals: str) -> tuple[str, ...]:
        names = (self._covers.get(name) for name in originals.split(","))
        return tuple(dict.fromkeys(name for name in names if name))


def _map_openvino_ops(model: Any, work: GraphWork) -> dict[str, str]:
    """Name of an op -> node of the graph: that of its output, or of the next op downstream that has one.

    A converter splits a node into several ops, of which the last has the name of the node's output.
    """
    found: dict[str, str] = {}
    for op in reversed(model.get_ordered_ops()):
        name = op.get_friendly_name()
        tensors = [tensor for port in op.outputs() for tensor in port.get_names() if tensor in work.producers]
        if tensors:
            # The output of a node that does nothing, such as a Pad by zero, is a further name of the one before it.
            found[name] = max((work.producers[tensor] for tensor in tensors), key=lambda node: work.nodes[node].macs)
            continue
        readers = [
            target.get_node().get_friendly_name() for port in op.outputs() for target in port.get_target_inputs()
        ]
        downstream = [found[reader] for reader in readers if reader in found]
        if downstream and op.get_type_name() != "Constant":
            found[name] = downstream[0]
    return found


class OnnxRuntimeProfiler:
    """ONNX Runtime's profile, mapped to the graph by the tensors of the optimised graph that it runs."""

    def __init__(self, path: Path, work: GraphWork, options: Mapping[str, Any]):
        self._folder = contextlib.ExitStack()
        folder = Path(self._folder.enter_context(tempfile.TemporaryDirectory(prefix="profile-")))
        self._session = OnnxRuntimeSession(path, profile_folder=str(folder), **options)
        self._covers = _map_optimised(folder / "optimised.onnx", work)
        self._calls = self._warm_calls = 0

    def __enter__(self) -> OnnxRuntimeProfiler:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()
        self._folder.close()

    def call(self, feeds: Feeds) -> None:
        """As `Profiler.call`."""
        self._session.run(feeds)
        self._calls += 1

    def start(self) -> None:
        """As `Profiler.start`."""
        self._warm_calls = self._calls

    def kernels(self) -> list[Kernel]:
        """As `Profiler.kernels`."""
        events = json.loads(Path(self._session.end_profiling()).read_text(encoding="utf-8"))
        starts = sorted(event["ts"] for event in events if event.get("name") == "model_run")
        counted = starts[self._warm_calls :]
        seconds: Counter[str] = Counter()
        first: dict[str, dict[str, Any]] = {}
        for event in events:
            name = str(event.get("name", "")).removesuffix("_kernel_time")
            if event.get("cat") == "Node" and name != event["name"] and event["ts"] >= counted[0]:
                seconds[name] += event["dur"] / 1e6
                first.setdefault(name, event["args"])
        calls = len(counted)
        return [self._kernel(name, facts, seconds[name] / calls) for name, facts in first.items()]

    def _kernel(self, name: str, facts: Mapping[str, Any], seconds: float) -> Kernel:
        types = [next(iter(entry)) for entry in facts.get("input_type_shape", [])[:1] if entry]
        precision = _ORT_PRECISIONS.get(types[0], types[0]) if types else ""
        processor = str(facts.get("provider", "")).removesuffix("ExecutionProvider")
        return Kernel(name, str(facts["op_name"]), seconds, self._covers.get(name, ()), precision, processor)


_ORT_PRECISIONS = {"float": "f32", "float16": "f16", "bfloat16": "bf16", "uint8": "u8", "int8": "i8"}


def _map_optimised(path: Path, work: GraphWork) -> dict[str, tuple[str, ...]]:
    """Node of ONNX Runtime's optimised graph -> the nodes of the graph that it computes."""
    nodes = load_graph(path).graph.node
    # A blocked layout renames tensors; a node is then named after the tensor that it computes.
    computed = {node.name: {*node.output, node.name.removesuffix("_nchwc")} for node in nodes}
    made = set().union(*computed.values())
    found: dict[str, tuple[str, ...]] = {}
    taken: set[str] = set()
    for node in nodes:
        if node.op_type in LAYOUT_KINDS:
            continue
        between = work.covered(computed[node.name] & set(work.producers), made - computed[node.name])
        # A tensor that the runtime has renamed is not seen as computed: what is behind it counts once, where it ran.
        covered = tuple(name for name in between if name not in taken)
        taken.update(covered)
        found[node.name] = covered or ((node.name,) if node.name in work.nodes else ())
    return found


class TorchProfiler:
    """torch's profiler around each call; layers are matched with those of the graph in the order they run."""

    def __init__(self, path: Path, work: GraphWork, options: Mapping[str, Any]):
        self._session, self._work = TorchSession(path, **options), work
        self._precision, self._events = options["precision"], list[list[tuple[str, float]]]()
        self._is_counting = False

    def __enter__(self) -> TorchProfiler:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def call(self, feeds: Feeds) -> None:
        """As `Profiler.call`."""
        from torch.profiler import ProfilerActivity, profile

        if not self._is_counting:
            self._session.run(feeds)
            return
        with profile(activities=[ProfilerActivity.CPU]) as found:
            self._session.run(feeds)
        inner = [event for event in found.events() if event.cpu_parent and event.cpu_parent.name == "forward"]
        inner.sort(key=lambda event: event.time_range.start)
        self._events.append([(event.name.removeprefix("aten::"), event.cpu_time_total / 1e6) for event in inner])

    def start(self) -> None:
        """As `Profiler.start`."""
        self._is_counting = True

    def kernels(self) -> list[Kernel]:
        """As `Profiler.kernels`."""
        seconds = np.mean([[each for _, each in call] for call in self._events], axis=0)
        kinds = [kind for kind, _ in self._events[0]]
        turns: Counter[str] = Counter()
        found = []
        for kind, mean in zip(kinds, seconds, strict=True):
            turns[kind] += 1
            found.append(Kernel(f"{kind} {turns[kind]}", kind, float(mean), (), self._precision))
        return list(self._with_layers(found))

    def _with_layers(self, kernels: list[Kernel]) -> Iterator[Kernel]:
        """The k-th convolution of the trace is that of the graph, if both have as many."""
        layers = [work.node for work in self._work.nodes.values() if work.macs and work.op.startswith("Conv")]
        ran = [kernel for kernel in kernels if kernel.kind == "_convolution"]
        names = dict(zip((kernel.name for kernel in ran), layers, strict=True)) if len(ran) == len(layers) else {}
        for kernel in kernels:
            yield replace(kernel, nodes=(names[kernel.name],)) if kernel.name in names else kernel


_PROFILERS: dict[str, Callable[[Path, GraphWork, Mapping[str, Any]], Profiler]] = {
    "openvino": OpenVinoProfiler,
    "onnxruntime": OnnxRuntimeProfiler,
    "torch": TorchProfiler,
}

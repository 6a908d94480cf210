"""Where the time of a compiled model goes: seconds per node, against the work of the node and the machine's peak."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from helpers.devices import Device, open_device
from helpers.errors import CompileError, DataError
from helpers.graph.read import load_graph
from helpers.graph.work import GraphWork
from helpers.params.targets import Precision, Target, load_target
from helpers.run.digest import digest_file
from helpers.run.environment import processor_name
from helpers.stages.artifact import FOLDER, CompiledManifest, read_manifest_file
from helpers.stages.graph import FINAL
from helpers.study.peaks import PeakMeter, Peaks
from helpers.study.profilers import LAYOUT_KINDS, Kernel, Profiler, open_profiler

_WARM_UP, _FEWEST_ROUNDS, _MOST_ROUNDS = 2, 5, 50
_BYTES = {"f32": 4, "f16": 2, "bf16": 2, "u8": 1, "i8": 1, "int8": 1}
# The precisions in which layers of a model compute, if nothing falls back.
_EXPECTED = {"f32": {"f32"}, "f16_weights": {"f32"}, "bf16": {"bf16"}, "f16": {"f16"}, "int8": {"u8", "i8"}}
# The sum of the nodes should be the latency, up to this share of it.
TOLERANCE = 0.1


@dataclass(frozen=True)
class NodeTime:
    """One node of the graph, or a change of layout that the runtime inserted.

    Attributes:
        node, op: name and op in the run's graph.
        fused: ops of further nodes that the same kernels compute.
        level: spatial size, such as "64×64×64"; empty if unknown.
        ms: mean time of a call.
        macs, bytes: multiply-accumulates, and bytes read and written, of a call.
        least_ms: the least time for this work at the machine's peak; None without a peak.
        precisions, processors: in which, and where, its kernels ran.
        reference_kernels: kernels for which the runtime had no fast code.
    """

    node: str
    op: str
    fused: tuple[str, ...]
    level: str
    ms: float
    macs: int
    bytes: int
    least_ms: float | None
    precisions: tuple[str, ...]
    processors: tuple[str, ...]
    reference_kernels: int = 0


@dataclass(frozen=True)
class Profile:
    """The times of a model's nodes, in the order in which they run, and the latency that they add up to.

    Attributes:
        runtime, precision, batch: of the model that was timed.
        machine: the processor.
        model_digest: of the file that was opened.
        calls: number of timed calls.
        latency_ms: median time of a call without the clock of the nodes.
        profiled_ms: mean time of the calls with it, whose nodes were timed.
        nodes: as above.
        kernels: number of nodes as the runtime executes them.
        peaks: of the machine; None where they are not measured.
        load: other load on the machine at the start, in processors.
    """

    runtime: str
    precision: str
    batch: int
    machine: str
    model_digest: str
    calls: int
    latency_ms: float
    profiled_ms: float
    nodes: tuple[NodeTime, ...]
    kernels: int
    peaks: Peaks | None
    load: float

    @property
    def sum_ms(self) -> float:
        """Time of all nodes."""
        return sum(node.ms for node in self.nodes)

    @property
    def explained(self) -> float:
        """The sum of the nodes as a fraction of the calls in which they were timed."""
        return self.sum_ms / self.profiled_ms

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a call."""
        return sum(node.macs for node in self.nodes)

    @property
    def share_of_peak(self) -> float | None:
        """Multiply-accumulates per second of the whole model as a fraction of the machine's peak."""
        return self.macs / (self.latency_ms / 1e3) / self.peaks.macs_per_second if self.peaks else None

    @property
    def share_of_roofline(self) -> float | None:
        """The least time for the work of every node, as a fraction of the time that they took."""
        least = [node.least_ms for node in self.nodes if node.least_ms is not None]
        return sum(least) / self.sum_ms if self.peaks else None

    def most_expensive(self, count: int = 5) -> list[NodeTime]:
        """The nodes that take the most time."""
        return sorted(self.nodes, key=lambda node: -node.ms)[:count]

    def by(self, field: Callable[[NodeTime], str]) -> dict[str, float]:
        """Milliseconds by a property of the nodes, the largest first."""
        totals: dict[str, float] = {}
        for node in self.nodes:
            totals[field(node)] = totals.get(field(node), 0.0) + node.ms
        return dict(sorted(totals.items(), key=lambda item: -item[1]))

    def fallbacks(self) -> dict[str, int]:
        """What did not run as asked for: layers in another precision, plain reference code, another processor."""
        expected, layers = _EXPECTED.get(self.precision, {self.precision}), [n for n in self.nodes if n.macs]
        main = Counter(name for node in self.nodes for name in node.processors).most_common(1)
        return {
            "layers in another precision": sum(not expected & set(node.precisions) for node in layers),
            "nodes in reference code": sum(node.reference_kernels > 0 for node in self.nodes),
            "nodes on another processor": sum(
                any(name != main[0][0] for name in node.processors) for node in self.nodes
            ),
        }

    def to_json(self) -> dict[str, object]:
        """As JSON values, with the figures that follow from them."""
        derived: dict[str, object] = {
            "sum_ms": self.sum_ms,
            "explained": self.explained,
            "macs": self.macs,
            "share_of_peak": self.share_of_peak,
            "share_of_roofline": self.share_of_roofline,
            "fallbacks": self.fallbacks(),
        }
        return {**asdict(self), **derived}


def profile_run(folder: Path, *, batch: int = 1, budget_s: float = 10.0) -> Profile:
    """Times every node of a run's compiled model on noise.

    Args:
        folder: of a run whose model is compiled.
        batch: samples per call.
        budget_s: time to spend after the warm-up; at least 5 rounds are made.

    Raises:
        CompileError: the run has no compiled model, or its files were deleted.
        DeviceError: the runtime's nodes are timed by the vendor's own tool.
        DataError: the model takes another batch.
    """
    manifest = read_manifest_file(folder / FOLDER)
    path = folder / FOLDER / manifest.files[0]
    graph = compiled_graph(folder, manifest)
    if not path.is_file() or not graph.is_file():
        raise CompileError(f"the compiled model of {folder} is incomplete", remedy="Run the recipe again.")
    originals = folder / FINAL
    names = {node.name for node in load_graph(originals).graph.node} if originals.is_file() else set()
    target = load_target(manifest.target)
    return profile_model(path, graph, target, manifest.precision, batch=batch, budget_s=budget_s, originals=names)


def compiled_graph(folder: Path, manifest: CompiledManifest) -> Path:
    """The ONNX graph that the compiler was given."""
    first = folder / FOLDER / manifest.files[0]
    rewritten = folder / FOLDER / "rewritten.onnx"
    return first if first.suffix == ".onnx" else rewritten if rewritten.is_file() else folder / FINAL


def profile_model(
    path: Path,
    graph: Path,
    target: Target,
    precision: Precision,
    *,
    batch: int = 1,
    budget_s: float = 10.0,
    originals: Sequence[str] | set[str] = (),
) -> Profile:
    """As `profile_run`, from the files themselves.

    Calls with and without the clock of the nodes alternate with the layers and the stream that measure the
    machine's peak, so that other load hits all of them.

    Args:
        path: the compiled model.
        graph: the ONNX graph that it was compiled from.
        target, precision: how it runs.
        batch, budget_s: as in `profile_run`.
        originals: names of nodes before the target's rewrites; a rewritten node is counted with its original.
    """
    work, load = GraphWork(load_graph(graph)), os.getloadavg()[0]
    with ExitStack() as opened:
        timed = open_profiler(target.runtime, path, work, precision=precision, device=target.device)
        profiler = opened.enter_context(timed)
        plain = opened.enter_context(open_device(path, target, precision=precision, max_in_flight=1))
        meter = opened.enter_context(PeakMeter(precision)) if target.device == "CPU" else None
        plain_s, profiled_s = _time_in_turn(plain, profiler, meter, batch, budget_s)
        kernels, peaks = profiler.kernels(), meter.peaks() if meter else None
    nodes = tuple(_node_times(kernels, work, batch, peaks, set(originals)))
    identity = (target.runtime, precision, batch, processor_name(), digest_file(path), len(profiled_s))
    latency_ms, profiled_ms = float(np.median(plain_s)) * 1e3, float(np.mean(profiled_s)) * 1e3
    return Profile(*identity, latency_ms, profiled_ms, nodes, len(kernels), peaks, load)


def _time_in_turn(
    plain: Device, profiler: Profiler, meter: PeakMeter | None, batch: int, budget_s: float
) -> tuple[list[float], list[float]]:
    """Seconds of the calls without and with the clock of the nodes; the meter runs between them."""
    feeds = _noise(plain, batch)
    steps: list[Callable[[], object]] = [lambda: plain.infer(feeds), lambda: profiler.call(feeds)]
    for _ in range(_WARM_UP):
        for step in steps:
            step()
    profiler.start()
    steps += [meter.measure_once] if meter else []
    plain_s, profiled_s, *_ = _in_turn(steps, budget_s)
    return plain_s, profiled_s


def _noise(device: Device, batch: int) -> dict[str, np.ndarray]:
    if device.batches is not None and batch not in device.batches:
        allowed = ", ".join(map(str, device.batches))
        raise DataError("the model takes another batch", received=batch, expected=allowed)
    random = np.random.default_rng(0)
    feeds = {}
    for spec in device.inputs:
        shape = [batch if axis is None else axis for axis in spec.shape]
        feeds[spec.name] = random.standard_normal(shape).astype(spec.dtype)
    return feeds


def _in_turn(steps: Sequence[Callable[[], object]], budget_s: float) -> list[list[float]]:
    """Seconds of every step, by step; the steps are taken in turn until the budget is spent."""
    seconds: list[list[float]] = [[] for _ in steps]
    ends = time.perf_counter() + budget_s
    while len(seconds[0]) < _FEWEST_ROUNDS or (time.perf_counter() < ends and len(seconds[0]) < _MOST_ROUNDS):
        for step, found in zip(steps, seconds, strict=True):
            start = time.perf_counter()
            step()
            found.append(time.perf_counter() - start)
    return seconds


def _node_times(
    kernels: Sequence[Kernel], work: GraphWork, batch: int, peaks: Peaks | None, originals: set[str]
) -> list[NodeTime]:
    """One row per node of the graph, in the order of its first kernel."""
    grouped: dict[tuple[str, str], list[Kernel]] = {}
    for kernel in kernels:
        grouped.setdefault(_owner(kernel, work, originals), []).append(kernel)
    rows = []
    for (name, op), members in grouped.items():
        covered = [node for kernel in members for node in kernel.nodes]
        moved = sum(work.values_moved(kernel.nodes, batch) * _BYTES.get(kernel.precision, 4) for kernel in members)
        macs = batch * sum(work.nodes[node].macs for node in dict.fromkeys(covered))
        fused = {work.nodes[node].op for node in covered if _original(node, originals) != name} - {op}
        rows.append(
            NodeTime(
                name,
                op,
                tuple(sorted(fused)),
                "×".join(map(str, next((work.nodes[n].level for n in covered if work.nodes[n].level), ()))),
                sum(kernel.seconds for kernel in members) * 1e3,
                macs,
                moved,
                peaks.seconds(macs, moved) * 1e3 if peaks else None,
                tuple(dict.fromkeys(kernel.precision for kernel in members if kernel.precision)),
                tuple(dict.fromkeys(kernel.processor for kernel in members)),
                sum(kernel.is_reference for kernel in members),
            )
        )
    return rows


def _owner(kernel: Kernel, work: GraphWork, originals: set[str]) -> tuple[str, str]:
    """Name and op of the node that a kernel is counted with: the one with the most work of those it computes."""
    if not kernel.nodes:
        return kernel.name, "layout change" if kernel.kind in LAYOUT_KINDS else kernel.kind
    main = max(kernel.nodes, key=lambda name: work.nodes[name].macs)
    name = _original(main, originals)
    return name, work.nodes[main].op if name == main else _op_of_original(name)


def _original(name: str, originals: set[str]) -> str:
    """The node that a rewrite replaced by this one and others: their names begin with its name."""
    if name in originals:
        return name
    while "_" in name:
        name = name.rpartition("_")[0]
        if name in originals:
            return name
    return name


def _op_of_original(name: str) -> str:
    return name.rpartition("/")[2].partition("_")[0]


def roofline_points(profile: Profile) -> list[tuple[float, float, NodeTime]]:
    """(multiply-accumulates per byte, multiply-accumulates per second, node) of every layer."""
    layers = [node for node in profile.nodes if node.macs and node.bytes and node.ms]
    return [(node.macs / node.bytes, node.macs / (node.ms / 1e3), node) for node in layers]


def describe(profile: Profile) -> Mapping[str, str]:
    """The facts of a profile, for a table."""
    share, roof = profile.share_of_peak, profile.share_of_roofline
    facts = {
        "model": f"{profile.runtime} {profile.precision}, batch {profile.batch}, on {profile.machine}",
        "latency": f"{profile.latency_ms:.2f} ms (median of {profile.calls} calls)",
        "sum of the nodes": f"{profile.sum_ms:.2f} ms, {profile.explained:.1%} of the {profile.profiled_ms:.2f} ms"
        " of the calls in which they were timed",
        "work": f"{profile.macs / 1e9:.2f} G multiply-accumulates",
    }
    if profile.peaks:
        facts["peak of this machine"] = (
            f"{profile.peaks.macs_per_second / 1e9:.0f} G multiply-accumulates/s ({profile.peaks.layer}),"
            f" {profile.peaks.bytes_per_second / 1e9:.1f} GB/s"
        )
        facts["share of the peak"] = f"{share:.1%} over the whole model; {roof:.1%} of the roofline over its nodes"
    counts = [f"{count} {name}" for name, count in profile.fallbacks().items()]
    facts["fallbacks"] = ", ".join(counts)
    facts["load"] = f"{profile.load:.1f} processors busy at the start"
    return facts

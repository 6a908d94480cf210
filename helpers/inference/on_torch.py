"""The sliding window on the network's own torch device: volume and sums stay there until labels are done.

Windows and weights are those of `stream_slabs`; only labels, or finished slabs of scores, return to the host.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from helpers.inference.scores import infinite_scores, refuse_many_classes, refuse_other_shape
from helpers.inference.windows import PaddedVolume, Slab, WindowPlan, mirror_combinations

if TYPE_CHECKING:
    import torch


def largest_layer_bytes(module: torch.nn.Module, shape: Sequence[int]) -> int:
    """Bytes of the input and the output of the layer that has most, found from shapes alone; 0 if torch cannot tell.

    No more memory than this can be enough: other layers' outputs are kept in addition to these.

    Args:
        module: a network on the CPU.
        shape: (N, C, ...) of its input, float32.
    """
    import torch

    largest = 0

    def measure(layer: torch.nn.Module, inputs: tuple[object, ...], output: object) -> None:
        nonlocal largest
        tensors = [value for value in (*inputs, output) if isinstance(value, torch.Tensor)]
        largest = max(largest, sum(value.nbytes for value in tensors))

    hooks = [layer.register_forward_hook(measure) for layer in module.modules() if not list(layer.children())]
    shapes = {
        name: value.to("meta") for name, value in itertools.chain(module.named_parameters(), module.named_buffers())
    }
    try:
        with torch.no_grad():
            torch.func.functional_call(module, shapes, (torch.empty(tuple(shape), device="meta"),))
    except (RuntimeError, TypeError, ValueError, NotImplementedError):
        return 0  # an operator that needs values; the network itself will say what is wrong
    finally:
        for hook in hooks:
            hook.remove()
    return largest


@dataclass(frozen=True)
class TorchNetwork:
    """A network on a torch device.

    Args:
        module: maps (N, C, *window) to (N, classes, *window).
        device: its name in torch, such as "cuda".
        autocast: the dtype that convolutions run in; None for float32.
    """

    module: Callable[[torch.Tensor], torch.Tensor]
    device: str
    autocast: torch.dtype | None = None


class TorchWindows:
    """Scores of every window of one volume, summed on the device.

    Args:
        volume: (C, Z, Y, X) float32.
        network: runs the windows.
        plan: the windows.
    """

    def __init__(self, volume: np.ndarray, network: TorchNetwork, plan: WindowPlan):
        import torch

        padded = PaddedVolume(volume, plan)
        self._torch, self._network, self._plan = torch, network, plan
        self._grid, self._crop = padded.grid, padded.crop
        # Batches keep their Z axis here, so the axes of slices are one further back.
        self._mirrors = mirror_combinations(plan.mirror_axes, leading=3 if plan.is_flat else 2)
        self._volume = torch.from_numpy(np.ascontiguousarray(padded.array)).to(network.device, non_blocking=True)
        self._weights = torch.from_numpy(self._grid.weights_of_window()).to(network.device)
        self._inverse = [
            torch.from_numpy(part.astype(np.float32)).to(network.device) for part in self._grid.inverse_sums
        ]

    def label(self) -> np.ndarray:
        """Labels (Z, Y, X) uint8, as `label_volume` returns them."""
        refuse_many_classes(self._plan.classes)
        torch = self._torch
        labels = torch.empty(self._grid.shape, dtype=torch.uint8, device=self._network.device)
        with torch.inference_mode():
            for start, stop, scores in self._finished():
                labels[start:stop] = self._labels_of(scores)
        return np.ascontiguousarray(labels.cpu().numpy()[self._crop])

    def _labels_of(self, scores: torch.Tensor) -> torch.Tensor:
        """As `slab_to_labels`."""
        plan, uint8 = self._plan, self._torch.uint8
        if plan.region_labels:
            labels = self._torch.zeros(scores.shape[1:], dtype=uint8, device=scores.device)
            for region, label in zip(scores, plan.region_labels, strict=True):
                labels[region > plan.label_threshold] = label
            return labels
        return (scores[0] > plan.label_threshold if plan.classes == 1 else scores.argmax(0)).to(uint8)

    def slabs(self) -> Iterator[Slab]:
        """Finished slabs of mean scores on the host, as `stream_slabs` yields them."""
        first, last = self._crop[0].start, self._crop[0].stop
        with self._torch.inference_mode():
            for start, stop, scores in self._finished():
                inner = slice(max(start, first), min(stop, last))
                if inner.start < inner.stop:
                    kept = scores[:, inner.start - start : inner.stop - start, self._crop[1], self._crop[2]]
                    yield Slab(inner.start - first, inner.stop - first, kept.cpu().numpy())

    def _finished(self) -> Iterator[tuple[int, int, torch.Tensor]]:
        """Yields (first plane, plane after the last, mean scores (classes, planes, Y, X)) on the device, in order."""
        torch, grid = self._torch, self._grid
        depth = grid.window[0]
        sums = torch.zeros((self._plan.classes, depth, *grid.shape[1:]), device=self._network.device)
        corners = list(itertools.product(grid.starts[1], grid.starts[2]))
        starts = [*dict.fromkeys(grid.starts[0]), grid.shape[0]]
        repeats = [grid.starts[0].count(start) for start in starts]
        for start, stop, times in zip(starts, starts[1:], repeats, strict=False):
            for first in range(0, times * len(corners), self._plan.batch_size):
                group = (corners * times)[first : first + self._plan.batch_size]
                for (y, x), scores in zip(group, self._infer(start, group), strict=True):
                    place = sums[:, :, y : y + grid.window[1], x : x + grid.window[2]]
                    place.addcmul_(scores.float(), self._weights)
            yield start, stop, self._mean(sums[:, : stop - start], start, stop)
            for part in sums:  # one class at a time, to keep the copy small
                part[: depth - (stop - start)] = part[stop - start :].clone()
                part[depth - (stop - start) :] = 0

    def _infer(self, z: int, corners: list[tuple[int, int]]) -> torch.Tensor:
        """Scores (N, classes, Z, Y, X), averaged over the mirrors."""
        depth, height, width = self._grid.window
        windows = [self._volume[:, z : z + depth, y : y + height, x : x + width] for y, x in corners]
        batch = self._torch.stack(windows)
        total = functools.reduce(self._torch.add, (self._run_mirrored(batch, axes) for axes in self._mirrors))
        return total / len(self._mirrors) if len(self._mirrors) > 1 else total

    def _run_mirrored(self, batch: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
        """Activated scores of the mirrored batch, mirrored back."""
        scores = self._activate(self._call(self._torch.flip(batch, axes) if axes else batch))
        refuse_other_shape(scores.shape, (len(batch), self._plan.classes, *self._grid.window))
        return self._torch.flip(scores, axes) if axes else scores

    def _call(self, batch: torch.Tensor) -> torch.Tensor:
        torch, autocast = self._torch, self._network.autocast
        kind = torch.device(self._network.device).type
        batch = batch[:, :, 0] if self._plan.is_flat else batch
        if kind == "cuda":  # tensor cores prefer channels last
            last = torch.channels_last if self._plan.is_flat else torch.channels_last_3d
            batch = batch.contiguous(memory_format=last)
        with torch.autocast(kind, dtype=autocast) if autocast is not None else contextlib.nullcontext():
            scores = self._network.module(batch).float()
        return scores[:, :, None] if self._plan.is_flat else scores

    def _activate(self, scores: torch.Tensor) -> torch.Tensor:
        if self._plan.activation == "softmax":
            return scores.softmax(1)
        return scores.sigmoid() if self._plan.activation == "sigmoid" else scores

    def _mean(self, sums: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        depth, rows, columns = self._inverse
        scores = sums * (depth[start:stop, None, None] * (rows[:, None] * columns[None, :]))
        if not bool(self._torch.isfinite(scores).all()):
            raise infinite_scores(f"planes {start} to {stop}")
        return scores

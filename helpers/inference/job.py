"""A prepared array and how it goes through the network: what can be done on another machine with numpy alone."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np

from helpers.inference.budget import InferenceRequest, available_ram_bytes, estimate, fit
from helpers.inference.on_torch import TorchWindows
from helpers.inference.predictor import ConstantWindowCache
from helpers.inference.resample import resample_slabs, resample_to_labels
from helpers.inference.scores import infinite_scores, label_threshold
from helpers.inference.slabs import Infer, Slab, sliding_window, stream_slabs
from helpers.inference.window_grid import compute_steps

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WindowPlan:
    """How a volume (C, Z, Y, X) becomes labels (Z, Y, X); fields as the arguments of `stream_slabs`.

    Args:
        target_shape: (Z, Y, X) that the scores are resampled to before labels are taken; None: the volume's own.
        nearest_axis: axis that is resampled with order 0.
        reuse_constant: ask the network once about windows that hold one value everywhere.
    """

    window: tuple[int, ...]
    classes: int
    step: float = 0.5
    gaussian: bool = True
    mirror_axes: tuple[int, ...] = ()
    activation: str | None = None
    batch_size: int = 1
    target_shape: tuple[int, ...] | None = None
    nearest_axis: int | None = None
    reuse_constant: bool = False

    def to_json(self) -> dict:
        """The plan as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping) -> WindowPlan:
        """The plan from its JSON; lists become tuples again."""
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in content.items()})


@dataclass(frozen=True)
class InferenceJob:
    """One case ready for the network.

    Args:
        image: float32, (C, Z, Y, X) for windows or (C, ...) of one sample.
        plan: windows over a volume; None: the image is one sample and the answer the graph's own output.
        restore: makes class indices uint8 on the case's own grid from the answer of `infer_job`.
    """

    image: np.ndarray
    plan: WindowPlan | None
    restore: Callable[[np.ndarray], np.ndarray]


def infer_job(image: np.ndarray, infer: Infer, plan: WindowPlan | None) -> np.ndarray:
    """The network's answer to a prepared image: labels (Z, Y, X) uint8, or the output (1, ...) for one sample.

    Raises:
        DeviceError: the scores have another shape, or are not finite.
        ResourceError: more memory is needed than there is, even with a batch of one.
    """
    if plan is None:
        answer = infer(image[None])
        if answer.dtype.kind == "f" and not np.isfinite(answer).all():
            raise infinite_scores(f"{np.count_nonzero(~np.isfinite(answer)):,} of {answer.size:,} scores")
        return answer
    if not getattr(infer, "keeps_batches", False):
        plan = fit_to_memory(image, infer, plan)
    asked = ConstantWindowCache(infer) if plan.reuse_constant else infer
    window, shape, axis, options = _options(plan)
    on_torch = _on_torch(image, infer, window, options)
    if shape is None:
        labels = on_torch.label() if on_torch else sliding_window(image, asked, window, **options)
    else:
        slabs = on_torch.slabs() if on_torch else stream_slabs(image, asked, window, **options)
        grid = {"source_shape": image.shape[1:], "nearest_axis": axis}
        labels = resample_to_labels(slabs, shape, **grid, threshold=label_threshold(plan.activation))
    if plan.reuse_constant:
        _logger.info("%d constant windows were answered from memory", asked.reused)
    return labels


def fit_to_memory(image: np.ndarray, infer: Infer, plan: WindowPlan, limit_bytes: int | None = None) -> WindowPlan:
    """The plan, with a smaller batch where the memory asks for it; the estimate is logged.

    Args:
        limit_bytes: memory that may be used beside the image; what the machine has to give when None.

    Raises:
        ResourceError: more memory is needed than there is, even with a batch of one.
    """
    request = InferenceRequest(
        image.shape,
        plan.window,
        plan.classes,
        plan.step,
        2 ** len(plan.mirror_axes),
        plan.batch_size,
        getattr(infer, "max_in_flight", 0),
        plan.target_shape,
    )
    limit = available_ram_bytes() if limit_bytes is None else limit_bytes
    fitting = fit(request, limit + image.nbytes)
    _logger.info("%s", estimate(fitting))
    if fitting.batch_size < plan.batch_size:
        _logger.warning("batch %d does not fit the memory; %d is used", plan.batch_size, fitting.batch_size)
    return replace(plan, batch_size=fitting.batch_size)


def count_samples(shape: tuple[int, ...], plan: WindowPlan | None) -> int:
    """Samples that the network is asked about a prepared image of this shape: windows times mirrors."""
    if plan is None:
        return 1
    flat = len(plan.window) == 2
    window = (1, *plan.window) if flat else plan.window
    padded = [max(size, length) for size, length in zip(shape[1:], window, strict=True)]
    steps = [len(compute_steps(size, length, plan.step)) for size, length in zip(padded, window, strict=True)]
    if flat:
        steps[0] = padded[0]
    return math.prod(steps) * 2 ** len(plan.mirror_axes)


def infer_scores(image: np.ndarray, infer: Infer, plan: WindowPlan) -> Iterator[Slab]:
    """The scores that `infer_job` takes the labels of: slabs (classes, Z, Y, X) of the target shape in order.

    Raises:
        DeviceError: the scores have another shape, or are not finite.
    """
    window, shape, axis, options = _options(plan)
    on_torch = _on_torch(image, infer, window, options)
    slabs = on_torch.slabs() if on_torch else stream_slabs(image, infer, window, **options)
    if shape is None:
        return slabs
    return resample_slabs(slabs, shape, source_shape=image.shape[1:], nearest_axis=axis)


def _on_torch(image: np.ndarray, infer: Infer, window: tuple[int, ...], options: dict) -> TorchWindows | None:
    network = getattr(infer, "torch_network", None)
    return TorchWindows(image, network, window, **options) if network else None


def _options(plan: WindowPlan) -> tuple[tuple[int, ...], tuple[int, ...] | None, int | None, dict]:
    options = plan.to_json()
    del options["reuse_constant"]
    return options.pop("window"), options.pop("target_shape"), options.pop("nearest_axis"), options

"""A prepared case and its inference: the part that another machine can do with numpy alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from helpers.inference.budget import fit_to_memory
from helpers.inference.on_torch import TorchWindows
from helpers.inference.predictor import ConstantWindowCache, Predictor
from helpers.inference.resample import resample_slabs, resample_to_labels
from helpers.inference.scores import infinite_scores
from helpers.inference.sliding import label_volume, stream_slabs
from helpers.inference.windows import Slab, WindowPlan

_LOG = logging.getLogger("cookbook")


@dataclass(frozen=True)
class InferenceJob:
    """One case ready for the network.

    Args:
        image: float32, (C, Z, Y, X) for windows or (C, ...) for a single sample.
        plan: windows over the volume; None: the image is a single sample, and the result is the graph's own output.
        restore: turns the result of `infer_job` into class indices uint8 on the case's own grid.
    """

    image: np.ndarray
    plan: WindowPlan | None
    restore: Callable[[np.ndarray], np.ndarray]


def infer_job(image: np.ndarray, predictor: Predictor, plan: WindowPlan | None) -> np.ndarray:
    """Labels (Z, Y, X) uint8 of a prepared image; without a plan the network's output (1, ...) for one sample.

    Raises:
        DeviceError: the scores have another shape, or are not finite.
        ResourceError: more memory is needed than is available, even with a batch of one.
    """
    if plan is None:
        return _infer_sample(image, predictor)
    if not predictor.fixed_batches:
        plan = fit_to_memory(image, plan, predictor.max_in_flight)
    cache = ConstantWindowCache(predictor) if plan.reuse_constant else None
    labels = _label(image, cache or predictor, plan)
    if cache:
        _LOG.info("the output for %d constant windows was reused", cache.reused)
    return labels


def infer_scores(image: np.ndarray, predictor: Predictor, plan: WindowPlan) -> Iterator[Slab]:
    """The scores behind the labels of `infer_job`: slabs (classes, Z, Y, X) on the plan's target grid, in order.

    Raises:
        DeviceError: the scores have another shape, or are not finite.
    """
    if plan.target_shape is None:
        return _slabs(image, predictor, plan)
    slabs, shape = _slabs(image, predictor, plan), image.shape[1:]
    return resample_slabs(slabs, plan.target_shape, source_shape=shape, nearest_axis=plan.nearest_axis)


def _infer_sample(image: np.ndarray, predictor: Predictor) -> np.ndarray:
    output = predictor.submit(image[None]).result()
    if output.dtype.kind == "f" and not np.isfinite(output).all():
        count = np.count_nonzero(~np.isfinite(output))
        raise infinite_scores(f"{count:,} of {output.size:,} scores", predictor.name)
    return output


def _label(image: np.ndarray, predictor: Predictor, plan: WindowPlan) -> np.ndarray:
    if plan.target_shape is not None:
        return resample_to_labels(
            _slabs(image, predictor, plan),
            plan.target_shape,
            source_shape=image.shape[1:],
            nearest_axis=plan.nearest_axis,
            threshold=plan.label_threshold,
            region_labels=plan.region_labels,
        )
    if predictor.torch_network is not None:
        return TorchWindows(image, predictor.torch_network, plan).label()
    return label_volume(image, predictor, plan)


def _slabs(image: np.ndarray, predictor: Predictor, plan: WindowPlan) -> Iterator[Slab]:
    if predictor.torch_network is not None:
        return TorchWindows(image, predictor.torch_network, plan).slabs()
    return stream_slabs(image, predictor, plan)

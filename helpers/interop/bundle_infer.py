"""The step on the accelerator's machine: runs the compiled model on every prepared case of a bundle.

It needs only numpy and the vendor's module; no recipe, checkpoint or original case.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from helpers.devices.open import RuntimeTarget, open_device
from helpers.errors import DeviceError, ParameterError
from helpers.inference import WindowPlan, infer_job
from helpers.inference.predictor import DevicePredictor, Predictor
from helpers.interop.bundle import Bundle, BundleCase, BundleModel, save_array
from helpers.interop.exchange import Exchange, ExchangeBytes, check_room, measure_exchange
from helpers.run.atomic import remove_leftovers

_LOG = logging.getLogger("cookbook")


def infer_bundle(bundle: Bundle, *, devices: str | list[int] | None = None, python: str | None = None) -> Bundle:
    """Runs the bundle's compiled model on every case; cases that the same model has answered are skipped.

    Args:
        bundle: after the compile step.
        devices: device numbers, or "all".
        python: another interpreter that has the vendor's module (Python 3.8 or newer, numpy).

    Raises:
        DeviceError: the bundle holds no compiled model, or the device failed. Finished outputs are kept.
    """
    model = _compiled(bundle)
    remove_leftovers(bundle.folder, deep=True)
    source = {name: bundle.files[name] for name in model.files}
    todo = [case for case in bundle.cases if not _is_answered(bundle, case, source)]
    if not todo:
        return bundle
    paths = [bundle.checked(name) for name in model.files]
    with _open(paths[0], model, bundle, devices, python) as predictor:
        for case in todo:
            bundle = _answer(bundle, case, predictor, model, source)
    return bundle


def open_bundle_exchange(bundle: Bundle, tool: str, chips: int = 1) -> tuple[Exchange, ExchangeBytes]:
    """The exchange with a vendor's tool in the bundle's own folder, and its size.

    Raises:
        ParameterError: the model has several batch sizes, between which tools cannot choose.
    """
    batches = _compiled(bundle).batches or (bundle.ports.batch_size,)
    if len(batches) > 1:
        raise ParameterError("device tools need a model of one batch size", received=list(batches))
    ports = replace(bundle.ports, batch_size=batches[0])
    exchange = Exchange(bundle.path(f"device_tool/{tool}"), tool, ports, chips)
    shapes = ((np.load(bundle.path(case.image), mmap_mode="r").shape, case.plan) for case in bundle.cases)
    return exchange, measure_exchange(shapes, ports)


def write_exchange(bundle: Bundle, exchange: Exchange, need: ExchangeBytes) -> None:
    """Writes the samples of every case for the exchange's tool.

    Raises:
        ResourceError: they do not fit on the disk.
    """
    check_room(need, exchange.folder)
    exchange.write((case.id, bundle.load(case.image), _plan(case, _compiled(bundle))) for case in bundle.cases)


def answer_from_exchange(bundle: Bundle, exchange: Exchange) -> Bundle:
    """Answers every case from the tool's outputs."""
    model, source = _compiled(bundle), {"tool": exchange.tool.name, "stamp": exchange.stamp}
    for case in bundle.cases:
        bundle = _answer(bundle, case, exchange.predictor(case.id), model, source)
    return bundle


def model_path(bundle: Bundle) -> str:
    """The compiled file to open, by its name in the bundle."""
    return _compiled(bundle).files[0]


def _compiled(bundle: Bundle) -> BundleModel:
    if bundle.model is None:
        raise DeviceError("the bundle holds no compiled model", remedy="Run `cookbook compile` on it first.")
    return bundle.model


@contextmanager
def _open(
    path: Path, model: BundleModel, bundle: Bundle, devices: str | list[int] | None, python: str | None
) -> Iterator[DevicePredictor]:
    fields = {name: str(model.target[name]) for name in ("name", "runtime", "device", "needs")}
    # An interpreter belongs to this machine: one that a bundle names is never started.
    target = RuntimeTarget(**fields, python=python)
    axis = bundle.ports.output_batch_axis
    with open_device(path, target, output_batch_axis=axis, devices=devices, precision=model.precision) as device:
        yield DevicePredictor(device, bundle.ports.input_name, bundle.ports.output_name)


def _answer(bundle: Bundle, case: BundleCase, predictor: Predictor, model: BundleModel, source: dict) -> Bundle:
    image = bundle.load(case.image)
    started = time.perf_counter()
    answer = infer_job(image, predictor, _plan(case, model))
    seconds = round(time.perf_counter() - started, 3)
    save_array(bundle.path(case.answer), answer)
    _LOG.info("%s: %.1f s%s", case.id, seconds, " simulated" if predictor.simulated else "")
    note = {"image": bundle.files[case.image], "model": source, "seconds": seconds, "simulated": predictor.simulated}
    done = bundle.with_files(case.answer, notes={**bundle.notes, case.answer: note})
    done.write()
    return done


def _plan(case: BundleCase, model: BundleModel) -> WindowPlan | None:
    """The case's plan with the model's batch size, which the compile step may have changed."""
    if case.plan is None or not model.batches:
        return case.plan
    return replace(case.plan, batch_size=max(model.batches))


def _is_answered(bundle: Bundle, case: BundleCase, source: dict) -> bool:
    note = bundle.notes.get(case.answer, {})
    same = note.get("image") == bundle.files[case.image] and note.get("model") == source
    return same and bundle.path(case.answer).is_file()

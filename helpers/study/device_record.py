"""Records of a device: one JSON file per finished run, with what is needed to trust its speed and its scores."""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from helpers.compile.base import compiler_for
from helpers.errors import DataError
from helpers.graph.read import load_graph
from helpers.params.paths import PROJECT_ROOT, WEIGHTS_FOLDER
from helpers.params.targets import load_target
from helpers.qa.finished import FinishedRun, find_run
from helpers.run import read_record
from helpers.run.atomic import write_json
from helpers.run.digest import digest_file, digest_value
from helpers.run.environment import describe_environment
from helpers.stages.artifact import FOLDER, CompiledManifest, read_manifest_file
from helpers.stages.graph import FINAL
from helpers.study.energy import NOT_READABLE
from helpers.study.speed_program import time_in_own_process

RESULTS = PROJECT_ROOT / "results"
SCHEMA = "schema.json"
_DRIVER_FILES = {"ascend": Path("/usr/local/Ascend/driver/version.info"), "cuda": Path("/proc/driver/nvidia/version")}

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Positive = Annotated[float, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DeviceFacts(_Part):
    """The hardware and the software that ran the model.

    Attributes:
        target, runtime: as in `params/targets`.
        processor: of the host; for the target `cpu` the device itself.
        driver: version of the accelerator's driver, or why there is none.
        versions: of the compiler, the runtime and this program.
    """

    target: str
    runtime: str
    processor: str
    cpus: int
    ram_gb: float
    driver: str
    versions: dict[str, str]


class LatencyFacts(_Part):
    """Milliseconds of one call by the host's clock, copies included."""

    p50_ms: Positive
    p90_ms: Positive
    p99_ms: Positive
    calls: Annotated[int, Field(ge=5)]


class DeviceRecord(_Part):
    """One model on one device.

    Attributes:
        model, run, run_hash: recipe, and name and hash of the run that made the scores.
        weights_sha256, compiled_sha256: of the checkpoints and of the compiled file.
        weights: `demo`, or the name of the checkpoint.
        data: `demo`, or the name of the data's folder; `score_cases` counts the scored cases.
        score: mean scores of the run by name.
        peak_memory_mb: of a process that only runs the model.
        energy_j_per_sample: joules of the processor, idle power included, or that it cannot be read.
        load: processors that were busy when the measurement started.
        simulated: whether a double of a vendor's software was measured; the folder `results` holds no such record.
    """

    format: Literal[1] = 1
    model: str
    weights: str
    weights_sha256: list[Digest]
    compiled_sha256: Digest
    device: DeviceFacts
    precision: str
    batch: Annotated[int, Field(ge=1)]
    input_shape: list[int]
    latency: LatencyFacts
    samples_per_second: Positive
    data: str
    score: dict[str, float]
    score_cases: int
    peak_memory_mb: Positive
    energy_j_per_sample: float | Literal["not readable here"]
    load: float
    command: str
    run: str
    run_hash: str
    measured: str
    simulated: bool


def record_run(folder: Path, *, batch: int = 1, budget_s: float = 10.0) -> DeviceRecord:
    """Measures the compiled model of a run that passed, and collects the rest from the run.

    Args:
        folder: of the run.
        batch, budget_s: samples per call, and seconds to measure.

    Raises:
        DataError: the run did not pass.
        CompileError, DeviceError: the run has no compiled model, or it fails.
    """
    run = find_run(folder.parent.parent, folder.parent.name, folder.name)
    manifest, checkpoints = read_manifest_file(folder / FOLDER), run.recipe.model.checkpoint_paths(run.params)
    load = round(os.getloadavg()[0], 1)
    shape, speed = _measure(run, manifest, batch, budget_s)
    stages, joules = read_record(folder)["stages"].values(), speed["joules_per_sample"]
    latency = LatencyFacts(**{name: speed[name] for name in LatencyFacts.model_fields})
    return DeviceRecord(
        model=run.recipe.name,
        weights="demo" if checkpoints[0].is_relative_to(WEIGHTS_FOLDER) else checkpoints[0].name,
        weights_sha256=[digest_file(path) for path in checkpoints],
        compiled_sha256=digest_file(folder / FOLDER / manifest.files[0]),
        device=_describe_device(manifest),
        precision=manifest.precision,
        batch=batch,
        input_shape=list(shape),
        latency=latency,
        samples_per_second=speed["samples_per_second"],
        data="demo" if run.params.data_root == "demo" else Path(run.params.data_root).name,
        score=_mean_scores(folder),
        score_cases=sum(any(value is not None for value in row.values()) for row in run.scores.values()),
        peak_memory_mb=speed["peak_rss_mb"],
        energy_j_per_sample="not readable here" if joules is None else joules,
        load=load,
        command=f"cookbook record RUN --batch {batch} --seconds {budget_s:g}",
        run=run.name,
        run_hash=run.hash,
        measured=time.strftime("%Y-%m-%d", time.gmtime()),
        simulated=speed["simulated"] or any(stage.get("simulated", False) for stage in stages),
    )


def write_record(record: DeviceRecord, folder: Path) -> Path:
    """Writes a record; one of the same model, device, precision and batch is replaced.

    Raises:
        DataError: the times are simulated, and the folder is `results`.
    """
    if record.simulated and folder.name == RESULTS.name:
        raise DataError(
            "the times of this run are simulated",
            received=f"{record.device.target} on a double of the vendor's software",
            expected="a run on the device itself",
            remedy="Write it to another folder with --to, or record a run of the device.",
        )
    machine = digest_value([record.device.processor, record.device.driver])[:6]
    parts = (record.model, record.weights, record.device.target, record.precision, f"b{record.batch}", machine)
    path = folder / ("_".join(part.replace("/", "-").replace(" ", "-") for part in parts) + ".json")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, record.model_dump(mode="json"))
    return path


def read_records(folder: Path) -> list[DeviceRecord]:
    """All records of a folder, by model, target, precision and batch.

    Raises:
        DataError: a file is not a record, or the folder `results` holds simulated times.
    """
    records = []
    for path in sorted(folder.glob("*.json")):
        if path.name == SCHEMA:
            continue
        record = read_record_file(path)
        if record.simulated and folder.name == RESULTS.name:
            raise DataError(f"{path} holds simulated times", remedy="Remove it: results are measured on devices.")
        records.append(record)
    return sorted(records, key=lambda one: (one.model, one.device.target, one.precision, one.batch))


def read_record_file(path: Path) -> DeviceRecord:
    """One record.

    Raises:
        DataError: the file is not a record.
    """
    try:
        return DeviceRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path} is no record", received=f"{where}: {first['msg']}") from None


def record_schema() -> dict[str, object]:
    """The JSON schema of a record."""
    return DeviceRecord.model_json_schema()


def _measure(run: FinishedRun, manifest: CompiledManifest, batch: int, budget_s: float) -> tuple[list[int], dict]:
    """Shape of one sample, and the row of the program that times it in a process of its own."""
    port = load_graph(run.path(FINAL)).graph.input[0]
    shape = [axis.dim_value for axis in port.type.tensor_type.shape.dim][1:]
    options = {"precision": manifest.precision, "max_in_flight": 1}
    path = run.path(FOLDER) / manifest.files[0]
    with tempfile.TemporaryDirectory(prefix="record-") as folder:
        sample = Path(folder) / "sample.npy"
        np.save(sample, np.random.default_rng(0).standard_normal((1, *shape), dtype=np.float32))
        rows = time_in_own_process(path, manifest.target, options, sample, port.name, [batch], budget_s)
    return shape, dict(rows[0])


def _describe_device(manifest: CompiledManifest) -> DeviceFacts:
    environment = describe_environment()
    machine, target = environment["machine"], load_target(manifest.target)
    compiler = compiler_for(manifest.runtime).identity(target) or {}
    versions = {name: str(value) for name, value in compiler.items()}
    versions |= {"cookbook": str(environment["cookbook"]), "python": str(environment["python"])}
    return DeviceFacts(
        target=manifest.target,
        runtime=manifest.runtime,
        processor=str(machine["processor"]),
        cpus=int(machine["cpus"] or 0),
        ram_gb=float(machine["ram_gb"]),
        driver=_driver(target.device, manifest.runtime),
        versions=versions,
    )


def _driver(device: str, runtime: str) -> str:
    if device == "CPU" and runtime not in _DRIVER_FILES:
        return f"none, {platform.system()} {platform.release()}"
    path = _DRIVER_FILES.get("cuda" if device == "CUDA" else runtime)
    try:
        return " ".join(path.read_text(encoding="utf-8").split())[:200] if path else NOT_READABLE
    except (OSError, UnicodeDecodeError):
        return NOT_READABLE


def _mean_scores(folder: Path) -> dict[str, float]:
    path = folder / "metrics.json"
    if not path.is_file():
        return {}
    mean = json.loads(path.read_text(encoding="utf-8")).get("mean", {})
    return {name: round(value, 4) for name, value in mean.items() if isinstance(value, float | int)}

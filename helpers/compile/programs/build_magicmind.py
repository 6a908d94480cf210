"""The program that builds a MagicMind model: standard library, numpy and MagicMind only, Python 3.8 or newer.

Usage: `python build_magicmind.py JOB ANSWER`, where JOB is JSON and ANSWER is the JSON file to write. It never
imports `helpers`.

The job `{"probe": true}` only reports what is installed. A build has `parser` ("onnx" or "torchscript"), `graph`,
`output`, `inputs` (the dimensions of each input in the graph's layout), `config` (of the builder), `device_id`, and
`calibration`: null or `{"windows": FILE.npz, "algorithm": NAME}`, whose array `windows` is (N, C, ...) float32.
"""

import itertools
import json
import os
import sys

import numpy as np


def main(job, answer_path):
    """Does the job and writes the answer atomically."""
    job = json.loads(job)
    try:
        answer = probe() if job.get("probe") else build(job)
    except ImportError as error:
        answer = {"missing": str(error)}
    except Refusal as error:
        answer = {"refused": str(error)}
    with open(answer_path + ".part", "w", encoding="utf-8") as stream:
        json.dump(answer, stream)
    os.replace(answer_path + ".part", answer_path)


class Refusal(Exception):
    """MagicMind reported a failure."""


def probe():
    """The installed version, the number of devices, and whether it is a double of MagicMind."""
    import magicmind
    import magicmind.python.runtime as mm

    with mm.System() as system:
        devices = int(system.device_count())
    double = bool(getattr(magicmind, "__double__", False))
    return {"version": str(getattr(magicmind, "__version__", "unknown")), "devices": devices, "double": double}


def build(job):
    """Parses, configures, calibrates, builds and writes the model."""
    import magicmind.python.runtime as mm

    network = parse(mm, job)
    config = mm.BuilderConfig()
    require(config.parse_from_string(json.dumps(job["config"])), "the builder's configuration")
    samples = calibrate(mm, network, config, job) if job["calibration"] else 0
    model = mm.Builder().build_model(os.path.basename(job["output"]), network, config)
    if model is None:
        raise Refusal("the builder returned no model; its own log gives the reason")
    require(model.serialize_to_file(job["output"]), "writing the model")
    return {
        "inputs": describe(model.get_input_names(), model.get_input_dimensions(), model.get_input_data_types()),
        "outputs": describe(model.get_output_names(), model.get_output_dimensions(), model.get_output_data_types()),
        "samples": samples,
    }


def parse(mm, job):
    """Parses the job's graph and sets the dimensions of its inputs."""
    from magicmind.python.runtime.parser import Parser

    kinds = {"onnx": mm.ModelKind.kOnnx, "torchscript": mm.ModelKind.kPytorch}
    parser, network = Parser(kinds[job["parser"]]), mm.Network()
    if job["parser"] == "torchscript":
        # TorchScript does not store the types of its inputs.
        parser.set_model_param("pytorch-input-dtypes", [mm.DataType.FLOAT32] * len(job["inputs"]))
    require(parser.parse(network, job["graph"]), "parsing the graph")
    if network.get_input_count() != len(job["inputs"]):
        raise Refusal("the graph has {} inputs instead of {}".format(network.get_input_count(), len(job["inputs"])))
    for index, dimensions in enumerate(job["inputs"]):
        require(network.get_input(index).set_dimension(mm.Dims(tuple(dimensions))), f"input {index} {dimensions}")
    return network


def calibrate(mm, network, config, job):
    """Runs the calibration windows through the network on a device and returns their number."""
    with np.load(job["calibration"]["windows"]) as content:
        windows = content["windows"]
    calibrator = mm.Calibrator([calibration_data(mm, windows, job["inputs"][0])])
    algorithm = getattr(mm.QuantizationAlgorithm, job["calibration"]["algorithm"])
    require(calibrator.set_quantization_algorithm(algorithm), "the quantization algorithm")
    with mm.System() as system:
        if system.device_count() <= job["device_id"]:
            raise Refusal("calibration needs device {}; {} found".format(job["device_id"], system.device_count()))
        device = mm.Device()
        device.id = job["device_id"]
        require(device.active(), "activating the device")
        require(calibrator.calibrate(network, config), "calibration")
    return len(windows)


def calibration_data(mm, windows, dimensions):
    """Wraps the windows for MagicMind's calibrator, which reads them in batches of the network's input dimensions."""
    from magicmind.python.common.types import get_datatype_by_numpy

    size = dimensions[0]
    if list(windows.shape[1:]) != list(dimensions[1:]) or not len(windows):
        raise Refusal(f"calibration windows {list(windows.shape)} do not fit the input {dimensions}")

    class Batches(mm.CalibDataInterface):  # type: ignore[name-defined]  # a module passed as an argument
        def __init__(self):
            super().__init__()
            self.start = -size

        def get_shape(self):
            return mm.Dims(tuple(dimensions))

        def get_data_type(self):
            return get_datatype_by_numpy(windows.dtype)

        def get_sample(self):
            # The last batch is filled up with the first windows, so that none is left out.
            wanted = itertools.islice(itertools.cycle(range(len(windows))), self.start, self.start + size)
            return np.ascontiguousarray(windows[list(wanted)])

        def next(self):
            self.start += size
            if self.start >= len(windows):
                return mm.Status(mm.Code.OUT_OF_RANGE, "no more windows")
            return mm.Status.OK()

        def reset(self):
            self.start = -size
            return mm.Status.OK()

    return Batches()


def describe(names, dimensions, types):
    """Name, dimensions and type of each tensor of the built model."""
    return [
        [name, [int(size) for size in dims.GetDims()], kind.name.lower()]
        for name, dims, kind in zip(names, dimensions, types)  # noqa: B905 (Python 3.8)
    ]


def require(status, what):
    """Raises a Refusal unless a status reports success."""
    if status is not None and not status.ok():
        raise Refusal(f"{what}: {status}")


if __name__ == "__main__":
    main(*sys.argv[1:])

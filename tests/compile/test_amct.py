"""AMCT's command line, as its public samples write it."""

from __future__ import annotations

import shlex

from helpers.compile.atc import amct_command
from helpers.graph.spec import GraphSpec


def test_the_command_is_that_of_the_public_samples():
    command = amct_command("m.onnx", "bins", "out/m", GraphSpec("x", "y", (3, 64, 64)))
    sample = 'amct_onnx calibration --model m.onnx --input_shape "x:1,3,64,64" --data_type float32 --data_dir bins'
    assert shlex.split(command) == shlex.split(f"{sample} --save_path out/m")

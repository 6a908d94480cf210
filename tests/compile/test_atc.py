"""ATC's command says what the published ones say, and survives a shell."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from helpers.compile.atc import atc_command, show_command
from helpers.graph.spec import GraphSpec
from helpers.params.targets import load_target


def test_the_3d_unets_command_is_the_published_one():
    # Ascend/ModelZoo-PyTorch, ACL_PyTorch/contrib/cv/detection/3DUnet, README.
    published = (
        "atc --framework=5 --model=unet_1_final.onnx --output=UNet3D_bs1 --input_format=NCDHW "
        '--input_shape="image:1,4,64,64,64" --log=error --soc_version=Ascend310'
    )
    spec = GraphSpec("image", "class", (4, 64, 64, 64))
    command = atc_command(Path("unet_1_final.onnx"), Path("UNet3D_bs1"), spec, load_target("ascend310"), 1)
    assert set(command) == set(shlex.split(published))


@pytest.mark.parametrize(("shape", "layout"), [((3, 8, 9), "NCHW"), ((1, 4, 8, 9), "NCDHW")])
def test_layout_and_batch_follow_the_spec(shape, layout):
    spec = GraphSpec("x", "y", shape)
    command = atc_command(Path("m.onnx"), Path("out"), spec, load_target("ascend310p3"), 4)
    assert f"--input_format={layout}" in command
    assert f"--input_shape=x:4,{','.join(map(str, shape))}" in command
    assert "--soc_version=Ascend310P3" in command


def test_a_shown_command_splits_into_the_same_arguments():
    spec = GraphSpec("in put", "y", (3, 8, 9))
    command = atc_command(Path("a folder/m $x.onnx"), Path("o;ut"), spec, load_target("ascend310"), 1)
    assert shlex.split(show_command(command)) == command

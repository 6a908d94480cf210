"""The commands of ATC and its tools equal the published ones and are quoted for a shell."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from helpers.compile.atc import amct_command, atc_command, tuning_commands
from helpers.errors import ParameterError
from helpers.graph.spec import GraphSpec
from helpers.params.atc_options import AtcOptions

UNET3D = GraphSpec("image", "class", (4, 64, 64, 64))
PICTURE = GraphSpec("x", "y", (3, 8, 9))


def flags_of(spec=PICTURE, **given) -> set[str]:
    given["options"] = AtcOptions(**given.pop("atc", {}))
    return set(atc_command(Path("m.onnx"), Path("out"), spec, "Ascend310P3", **given))


def test_the_command_of_the_3d_unet_is_the_published_one_with_an_explicit_precision():
    # Ascend/ModelZoo-PyTorch, ACL_PyTorch/contrib/cv/detection/3DUnet, README.
    published = (
        "atc --framework=5 --model=unet_1_final.onnx --output=UNet3D_bs1 --input_format=NCDHW "
        '--input_shape="image:1,4,64,64,64" --log=error --soc_version=Ascend310'
    )
    command = atc_command(Path("unet_1_final.onnx"), Path("UNet3D_bs1"), UNET3D, "Ascend310")
    assert set(command) == {*shlex.split(published), "--precision_mode=force_fp16"}


@pytest.mark.parametrize(
    ("shape", "layout"), [((3, 8, 9), "NCHW"), ((1, 4, 8, 9), "NCDHW"), ((5,), "ND"), ((1, 2, 3, 4, 5), "ND")]
)
def test_layout_and_batch_follow_the_spec(shape, layout):
    flags = flags_of(GraphSpec("x", "y", shape), batches=[4])
    assert {f"--input_format={layout}", f"--input_shape=x:4,{','.join(map(str, shape))}"} <= flags
    assert not [flag for flag in flags if "dynamic" in flag]


def test_batch_gears_make_the_first_axis_dynamic():
    assert {"--input_shape=x:-1,3,8,9", "--dynamic_batch_size=1,2,8"} <= flags_of(batches=[8, 1, 2])


def test_size_gears_make_the_differing_axes_dynamic_in_the_nd_format():
    flags = flags_of(atc={"dims_gears": [[1, 3, 8, 9], [4, 3, 16, 9]]})
    assert {"--input_format=ND", "--input_shape=x:-1,3,-1,9", "--dynamic_dims=1,8;4,16"} <= flags
    with pytest.raises(ParameterError, match="dims_gears do not fit"):
        flags_of(atc={"dims_gears": [[1, 3, 8], [2, 3, 8]]})


@pytest.mark.parametrize(
    ("precision", "v2", "flag"),
    [
        ("f16", False, "--precision_mode=force_fp16"),
        ("f16", True, "--precision_mode_v2=fp16"),
        ("f32", False, "--precision_mode=must_keep_origin_dtype"),
        ("f32", True, "--precision_mode_v2=origin"),
        ("bf16", True, "--precision_mode_v2=mixed_bfloat16"),
    ],
)
def test_the_precision_is_always_given_in_the_form_that_the_release_supports(precision, v2, flag):
    flags = flags_of(precision=precision, precision_mode_v2=v2)
    assert [name for name in flags if name.startswith("--precision_mode")] == [flag]


def test_every_option_becomes_its_flag():
    atc = {
        "precision_mode": "allow_mix_precision",
        "op_select_implmode": "high_precision",
        "optypelist_for_implmode": ["Resize", "InstanceNorm"],
        "out_nodes": ["Conv_80:0", "class"],
        "output_type": "FP16",
        "f16_input": True,
        "log": "info",
        "extra": ["--enable_small_channel=1"],
    }
    assert {
        "--precision_mode=allow_mix_precision",
        "--op_select_implmode=high_precision",
        "--optypelist_for_implmode=Resize,InstanceNorm",
        "--out_nodes=Conv_80:0;class",
        "--output_type=FP16",
        "--input_fp16_nodes=x",
        "--log=info",
        "--enable_small_channel=1",
        "--keep_dtype=kept.txt",
    } <= flags_of(atc=atc, keep_f32_file=Path("kept.txt"))


def test_a_precision_without_a_mode_of_atc_is_rejected():
    with pytest.raises(ParameterError, match=r"ATC has no mode for this precision: received int8"):
        flags_of(precision="int8")


def test_a_shown_command_splits_into_the_same_arguments():
    spec = GraphSpec("in put", "y", (3, 8, 9))
    command = atc_command(Path("a folder/m $x.onnx"), Path("o;ut"), spec, "Ascend310", [1, 2])
    assert shlex.split(shlex.join(command)) == command


def test_the_commands_for_a_slow_model_repeat_its_settings():
    command = atc_command(Path("m.onnx"), Path("out/model"), PICTURE, "Ascend310P3", [1, 4])
    lines = tuning_commands(command, Path("m.onnx"), Path("out/model"), PICTURE).values()
    tune, profile, quantise = map(shlex.split, lines)
    assert tune[0] == "aoe" and {"--model=m.onnx", "--dynamic_batch_size=1,4", "--output=out/model_aoe"} <= set(tune)
    measured = shlex.split(profile[2].removeprefix("--application="))
    assert profile[0] == "msprof" and measured[:3] == ["msame", "--model", "out/model.om"]
    assert quantise[:2] == ["amct_onnx", "calibration"] and "x:1,3,8,9" in quantise


def test_the_command_of_amct_is_that_of_its_public_samples():
    command = amct_command("m.onnx", "bins", "out/m", GraphSpec("x", "y", (3, 64, 64)))
    sample = 'amct_onnx calibration --model m.onnx --input_shape "x:1,3,64,64" --data_type float32 --data_dir bins'
    assert shlex.split(command) == shlex.split(f"{sample} --save_path out/m")

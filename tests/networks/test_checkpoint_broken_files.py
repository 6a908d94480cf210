"""Each kind of broken checkpoint file has its own message."""

from __future__ import annotations

import zipfile

import pytest
import torch
from safetensors.torch import save_file

from helpers.errors import CheckpointError
from helpers.networks.checkpoint import load_state_dict
from tests.networks.tiny_unet3d import tiny_network


def empty(path, state):
    path.write_bytes(b"")


def pointer(path, state):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", encoding="utf-8")


def web_page(path, state):
    path.write_text("<!DOCTYPE html><html><body>Please log in</body></html>", encoding="utf-8")


def cut_zip(path, state):
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-500])


def cut_old(path, state):
    torch.save(state, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-500])


def folder(path, state):
    path.mkdir()


def other_zip(path, state):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fold_0/model_final_checkpoint.model", b"")


def picture(path, state):
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(300))


def script(path, state):
    torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)).save(str(path))


def a_list(path, state):
    torch.save(list(state.values()), path)


def unusual_key(path, state):
    torch.save({"epoch": 3, "generator": state}, path)


def no_tensors(path, state):
    torch.save({"epoch": 3, "settings": {"width": 8}}, path)


def nothing_in_it(path, state):
    torch.save({"state_dict": {}}, path)


BROKEN = [
    (empty, "is empty"),
    (pointer, "is a Git LFS pointer"),
    (web_page, "is a web page"),
    (cut_zip, "truncated or damaged.*zip archive without its end"),
    (cut_old, "truncated or damaged"),
    (folder, "is a folder"),
    (other_zip, "is not a torch.save file.*a zip archive of other files"),
    (picture, "is not a torch.save file.*89504e47"),
    (script, "TorchScript"),
    (a_list, "does not contain a state dict.*a list"),
    (unusual_key, "weights under unusual keys: received generator.*-p checkpoint_key generator"),
    (no_tensors, "2 entries that are not tensors: epoch .int., settings .dict."),
    (nothing_in_it, "does not contain a state dict.*an empty dict"),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("make, message", BROKEN, ids=[make.__name__ for make, _ in BROKEN])
def test_each_kind_of_broken_file_has_its_own_message(make, message, tmp_path):
    path = tmp_path / "weights.pth"
    make(path, tiny_network(seed=1).state_dict())
    with pytest.raises(CheckpointError, match=message) as caught:
        load_state_dict(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_and_a_truncated_safetensors_file(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        load_state_dict(tmp_path / "nowhere.pth")
    path = tmp_path / "weights.safetensors"
    save_file(tiny_network(seed=1).state_dict(), path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        load_state_dict(path)


@pytest.mark.parametrize("with_sums", [True, False])
def test_a_damaged_byte_is_noticed_by_the_checksum_of_its_record(tmp_path, with_sums):
    path = tmp_path / "weights.pth"
    torch.serialization.set_crc32_options(with_sums)
    try:
        torch.save({"weight": torch.arange(100.0)}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert load_state_dict(path)[0]["weight"][12] == 12  # also without checksums
    content = bytearray(path.read_bytes())
    content[content.find(torch.arange(100.0).numpy().tobytes()) + 50] ^= 0x80
    path.write_bytes(content)
    if with_sums:
        with pytest.raises(CheckpointError, match=r"truncated or damaged: received Bad CRC-32"):
            load_state_dict(path)


def test_a_safetensors_file_is_known_by_its_suffix_in_upper_case(tmp_path):
    state = tiny_network(seed=1).state_dict()
    save_file(state, tmp_path / "WEIGHTS.SAFETENSORS")
    assert load_state_dict(tmp_path / "WEIGHTS.SAFETENSORS")[0].keys() == state.keys()

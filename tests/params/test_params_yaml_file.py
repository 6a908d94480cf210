"""Errors in YAML files of parameters name the file and the line."""

from __future__ import annotations

import pytest

from helpers.errors import ParameterError
from helpers.params.yaml_file import nearest_name, read_yaml_mapping, unknown_name_error


def _write(tmp_path, content: str | bytes):
    path = tmp_path / "some.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_reads_a_mapping_and_accepts_an_empty_file(tmp_path):
    assert read_yaml_mapping(_write(tmp_path, "a: 1\nb: [x, y]\n")) == {"a": 1, "b": ["x", "y"]}
    assert read_yaml_mapping(_write(tmp_path, "# only a comment\n")) == {}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a: 1\nb:\t\t- c\n\td: e\n", "line 2"),
        ("a: [1, 2\n", "line 2"),
        ("- a\n- b\n", "list"),
        ("just text\n", "str"),
        (b"\xff\xfe\x00binary", "some.yaml"),
        ("a: \x07\n", "some.yaml"),
        ("on: 1\n", "True"),
        ("1: x\n", "1"),
    ],
)
def test_an_invalid_file_is_one_clear_error(tmp_path, content, expected):
    with pytest.raises(ParameterError) as caught:
        read_yaml_mapping(_write(tmp_path, content))
    line = caught.value.line()
    assert expected in line and "some.yaml" in line and "None" not in line
    assert "\n" not in line


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r"not_there\.yaml.*No such file"):
        read_yaml_mapping(tmp_path / "not_there.yaml")


def test_a_yaml_file_cannot_run_code(tmp_path):
    with pytest.raises(ParameterError):
        read_yaml_mapping(_write(tmp_path, "a: !!python/object/apply:os.getcwd []\n"))


def test_the_nearest_name_is_offered_or_all_names():
    assert nearest_name("bacth_size", ["batch_size", "opset"]) == "batch_size"
    assert nearest_name("zzz", ["batch_size"]) is None
    assert "Did you mean 'batch_size'?" in unknown_name_error("parameter", "bacth_size", ["batch_size"]).line()
    assert "Known: a, b." in unknown_name_error("target", "zzz", ["b", "a"]).line()

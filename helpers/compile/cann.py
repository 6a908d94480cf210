"""CANN on this machine: its ATC, its version, and what that version takes."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import CompileError
from helpers.params.paths import PARAMS_FOLDER
from helpers.params.yaml_file import read_yaml_mapping
from helpers.run.digest import digest_file

_INSTALLED = "ascend_toolkit_install.info"
_VERSION_FOLDER = re.compile(r"^(?:cann-)?(\d+\.\d+(?:\.\w+)*)$")
# They say where to log and which chips to see, not what is compiled.
_TELLS_NOTHING = re.compile(r"LOG|_WORK_PATH|VISIBLE_DEVICES")


@dataclass(frozen=True)
class Release:
    """What a generation of CANN takes: the first and last ONNX opset, and whether it knows precision_mode_v2."""

    opsets: tuple[int, int]
    precision_mode_v2: bool


@dataclass(frozen=True)
class Cann:
    """An installed CANN; `version` is None where its files do not say it."""

    atc: Path
    version: str | None

    def identity(self) -> dict[str, object]:
        """What decides its answers beside graph and command: version, program, and CANN's variables."""
        variables = {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(("ASCEND", "CANN")) and not _TELLS_NOTHING.search(name)
        }
        content = {"version": self.version, "atc": str(self.atc), "program": digest_file(self.atc)}
        return content | {"environment": variables}


def find_cann() -> Cann | None:
    """The CANN whose `set_env.sh` was sourced, or None."""
    found = shutil.which("atc")
    if found is None:
        return None
    return Cann(Path(found), find_version(Path(found), os.environ))


def find_version(atc: Path, environment: Mapping[str, str]) -> str | None:
    """CANN's version by the file that its installer leaves, or by a folder's name; None where neither is there."""
    homes = [environment[name] for name in ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH") if environment.get(name)]
    roots = [*list(atc.resolve().parents)[:4], *(Path(home) for home in homes)]
    for root in roots:
        for path in (root / _INSTALLED, *sorted(root.glob(f"*-linux/{_INSTALLED}"))):
            if path.is_file() and (found := re.search(r"^version=(\S+)", path.read_text("utf-8"), re.MULTILINE)):
                return found[1]
    for root in roots:
        if found := _VERSION_FOLDER.match(root.resolve().name):
            return found[1]
    return None


def release_of(version: str | None) -> Release | None:
    """What a version takes, or None where the version is unknown or older than the table."""
    if version is None:
        return None
    table = read_yaml_mapping(PARAMS_FOLDER / "ascend" / "cann.yaml")["releases"]
    for row in table:
        if _number(version) >= _number(row["from"]):
            return Release(tuple(row["opsets"]), row["precision_mode_v2"])
    return None


def check_opset(opset: int, version: str | None) -> None:
    """Refuses an opset before ATC does.

    Raises:
        CompileError: this version of CANN does not read it.
    """
    release = release_of(version)
    if release and not release.opsets[0] <= opset <= release.opsets[1]:
        raise CompileError(
            f"CANN {version} does not read this opset",
            received=opset,
            expected="{} to {}".format(*release.opsets),
            remedy="Export with `opset: 11`, which every release reads.",
        )


def _number(version: str) -> tuple[int, int]:
    major, minor = re.match(r"(\d+)\.(\d+)", version).groups()
    return int(major), int(minor)

"""The CANN toolkit on this machine: its ATC, its version, and what that version supports."""

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

_INSTALL_INFO = "ascend_toolkit_install.info"
_VERSION = re.compile(r"(\d+)\.(\d+)")
_VERSION_FOLDER = re.compile(r"^(?:cann-)?(\d+\.\d+(?:\.\w+)*)$")
# Variables for logging and for the visible devices; they do not affect the compiled model.
_IRRELEVANT_VARIABLE = re.compile(r"LOG|_WORK_PATH|VISIBLE_DEVICES")


@dataclass(frozen=True)
class CannRelease:
    """The features of a CANN generation: its first and last ONNX opset, and whether it has precision_mode_v2."""

    opsets: tuple[int, int]
    precision_mode_v2: bool


@dataclass(frozen=True)
class Cann:
    """An installed CANN; `version` is None if its files do not state it."""

    atc: Path
    version: str | None

    def identity(self) -> dict[str, object]:
        """Everything besides graph and command that determines ATC's output: version, program and variables."""
        variables = {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(("ASCEND", "CANN")) and not _IRRELEVANT_VARIABLE.search(name)
        }
        content = {"version": self.version, "atc": str(self.atc), "program": digest_file(self.atc)}
        return content | {"environment": variables}


def find_cann() -> Cann | None:
    """The CANN whose `set_env.sh` was sourced, or None."""
    found = shutil.which("atc")
    if found is None:
        return None
    return Cann(Path(found), _find_version(Path(found), os.environ))


def _find_version(atc: Path, environment: Mapping[str, str]) -> str | None:
    """Reads CANN's version from the file that its installer writes, or from a folder's name; None without either."""
    homes = [environment[name] for name in ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH") if environment.get(name)]
    roots = [*list(atc.resolve().parents)[:4], *(Path(home) for home in homes)]
    for root in roots:
        for path in (root / _INSTALL_INFO, *sorted(root.glob(f"*-linux/{_INSTALL_INFO}"))):
            if path.is_file() and (found := re.search(r"^version=(\S+)", path.read_text("utf-8"), re.MULTILINE)):
                return found[1]
    for root in roots:
        if found := _VERSION_FOLDER.match(root.resolve().name):
            return found[1]
    return None


def release_of(version: str | None) -> CannRelease | None:
    """The features of a version, or None if the version is unknown or older than the table."""
    if version is None:
        return None
    for row in read_yaml_mapping(PARAMS_FOLDER / "ascend" / "cann.yaml")["releases"]:
        if _major_minor(version) >= _major_minor(row["from"]):
            first, last = row["opsets"]
            return CannRelease((first, last), row["precision_mode_v2"])
    return None


def check_opset(opset: int, version: str | None) -> None:
    """Checks that CANN supports an opset, before ATC is called.

    Raises:
        CompileError: this version of CANN does not support it.
    """
    release = release_of(version)
    if release and not release.opsets[0] <= opset <= release.opsets[1]:
        raise CompileError(
            f"CANN {version} does not support this opset",
            received=opset,
            expected="{} to {}".format(*release.opsets),
            remedy="Export with `opset: 11`, which every release supports.",
        )


def _major_minor(version: str) -> tuple[int, int]:
    """The part of a version that releases are ordered by.

    >>> _major_minor("8.0.RC1")
    (8, 0)
    """
    found = _VERSION.match(version)
    return (int(found[1]), int(found[2])) if found else (0, 0)

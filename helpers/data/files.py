"""Finds the files of a data set: below folders and links to folders, by suffixes in upper or lower case."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.data.volume import VOLUME_SUFFIXES
from helpers.errors import DataError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp")
_OTHER_PICTURES = (
    *(".heic", ".heif", ".avif", ".jxl", ".jp2", ".jfif", ".jpe", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".exr", ".hdr", ".psd", ".svg"),
)
# 3D Slicer writes the segmentation of a.nrrd as a.seg.nrrd.
_STEM_SUFFIXES = (".seg.nrrd", *VOLUME_SUFFIXES)


@dataclass(frozen=True)
class FoundFiles:
    """The files of a folder, sorted by path, and what was left out.

    Attributes:
        files: every file that is not hidden.
        broken: links whose target does not exist.
        twice: one line for each folder that was reached a second time.
    """

    files: tuple[Path, ...]
    broken: tuple[Path, ...]
    twice: tuple[str, ...]

    @property
    def skipped(self) -> list[str]:
        """What was left out, one line each."""
        return [*map(_say_broken, self.broken), *self.twice]


def find_files(root: Path, *, deep: bool = True) -> FoundFiles:
    """Lists the files in a folder, and at every depth below it; links are followed, hidden names are left out.

    A folder that is reached twice, through a link or a circle of links, is read once.

    Args:
        root: the folder.
        deep: whether folders in it are read as well.

    Raises:
        DataError: a folder cannot be read.
    """
    files: list[Path] = []
    broken: list[Path] = []
    twice: list[str] = []
    seen: dict[str, Path] = {}
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        known = seen.setdefault(os.path.realpath(folder), folder)
        if known != folder:
            twice.append(f"{folder} leads to {known}, which is read already")
            continue
        folders = []
        for path in _entries(folder):
            if path.is_dir():
                folders.append(path)
            elif path.is_file():
                files.append(path)
            elif path.is_symlink():
                broken.append(path)
        if deep:  # the last one is read first: real folders before links to them
            waiting += sorted(folders, key=lambda path: (path.is_symlink(), path), reverse=True)
    return FoundFiles(tuple(sorted(files)), tuple(sorted(broken)), tuple(sorted(twice)))


def volume_stem(name: str) -> str | None:
    """The name of a volume's file without its suffix, or None if it is not a volume's.

    >>> volume_stem("a.NII.GZ"), volume_stem("b.seg.nrrd"), volume_stem("notes.txt")
    ('a', 'b', None)
    """
    return _without_suffix(name, _STEM_SUFFIXES)


def picture_stem(name: str) -> str | None:
    """As `volume_stem`, for pictures.

    >>> picture_stem("a.JPG"), picture_stem("Thumbs.db")
    ('a', None)
    """
    return _without_suffix(name, PICTURE_SUFFIXES)


def find_pictures(folder: Path) -> dict[str, Path]:
    """The pictures in a folder by name without suffix, in the order of the names.

    Raises:
        DataError: two pictures have one name, or a link to a picture is broken.
    """
    found = find_files(folder, deep=False)
    refuse_broken([path for path in found.broken if picture_stem(path.name) is not None])
    named = [(stem, path) for path in found.files if (stem := picture_stem(path.name)) is not None]
    return dict(sorted(one_file_each(named, f"picture of {folder.name},").items()))


def other_files(folder: Path) -> list[str]:
    """One line that names the pictures of formats that are not read, if there are any."""
    names = [path.name for path in find_files(folder, deep=False).files if path.suffix.lower() in _OTHER_PICTURES]
    return [f"pictures in {folder} of formats that are not read: {some_of(names)}"] if names else []


def one_file_each(named: Iterable[tuple[str, Path]], what: str) -> dict[str, Path]:
    """Files by name; a name with two files is refused, because either may be the right one.

    Args:
        named: (name, file) pairs.
        what: of which the name is an id, such as "image".

    Raises:
        DataError: two files have one name, such as a.nii.gz and a.nrrd.
    """
    found: dict[str, Path] = {}
    for name, path in named:
        if name in found:
            raise DataError(
                f"two files for the {what} {name}",
                received=f"{found[name]} and {path}",
                expected="one",
                remedy="Move one of them out of the folder.",
            )
        found[name] = path
    return found


def refuse_broken(paths: Sequence[Path]) -> None:
    """Refuses links to files of a case that do not exist: the case would be incomplete, or lose its truth.

    Raises:
        DataError: there is one.
    """
    if paths:
        more = f", and {len(paths) - 1} more" if len(paths) > 1 else ""
        raise DataError(_say_broken(paths[0]) + more, remedy="Restore the target, or remove the link.")


def some_of(names: Sequence[str], shown: int = 3) -> str:
    """The first names, and the number of the others.

    >>> some_of(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _say_broken(path: Path) -> str:
    return f"{path} is a broken link to {os.readlink(path)}"


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(
            f"{folder} cannot be read", received=error.strerror, remedy="Check its permissions."
        ) from None


def _without_suffix(name: str, suffixes: Sequence[str]) -> str | None:
    lower = name.lower()
    suffix = next((suffix for suffix in suffixes if lower.endswith(suffix) and lower != suffix), None)
    return None if suffix is None else name[: -len(suffix)]

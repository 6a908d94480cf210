"""Strips outputs, pasted pictures, execution counts and widget state from notebooks.

Run as `python -m helpers.interop.strip_notebooks FOLDER ...`. A saved interactive notebook
holds the voxels of whatever its viewer showed; none of that belongs in git.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat


def strip_notebook(path: Path) -> bool:
    """Strips one notebook in place; True when it held anything to strip."""
    notebook = nbformat.read(path, as_version=4)
    before = nbformat.writes(notebook)
    kept = ("kernelspec", "language_info")
    notebook.metadata = {key: notebook.metadata[key] for key in kept if key in notebook.metadata}
    if "language_info" in notebook.metadata:
        notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        cell.pop("attachments", None)  # a screenshot pasted into a text cell is a picture of somebody too
        tags = cell.metadata.get("tags")
        cell.metadata = {"tags": tags} if tags else {}
    after = nbformat.writes(notebook)
    if after == before:
        return False
    nbformat.write(notebook, path)
    return True


def main(folders: list[str]) -> int:
    """Strips every notebook below the folders and names those that were changed."""
    for folder in folders:
        for path in sorted(Path(folder).rglob("*.ipynb")):
            if strip_notebook(path):
                sys.stdout.write(f"stripped {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["notebooks"]))

"""How the views bear a 512 x 512 x 600 CT: kernel side alone, then in a browser with software WebGL.

Run as `python benchmarks/large_ct.py [--browser]`; writes `benchmarks/results/large_ct.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tests" / "browser")]
from measure import describe_machine, measure  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "large_ct.json"
SHAPE, SPACING_MM = (600, 512, 512), (1.0, 0.8, 0.8)
CLASSES = ("background", "liver", "lesion")


def make_ct(path: Path) -> None:
    """An abdomen of ellipsoids with noise, int16, a truth and a prediction that differ; slice by slice into files."""
    random = np.random.default_rng(1)
    names = {"image": np.int16, "truth": np.uint8, "prediction": np.uint8}
    files = {
        name: np.lib.format.open_memmap(path / f"{name}.npy", "w+", dtype, SHAPE) for name, dtype in names.items()
    }
    y, x = (axis.astype(np.float32) / 512 - 0.5 for axis in np.ogrid[:512, :512])
    noise = random.normal(0, 15, (512, 512)).astype(np.float32)
    for z in range(SHAPE[0]):
        up = z / SHAPE[0] - 0.5
        body = (x / 0.45) ** 2 + (y / 0.32) ** 2 < 1
        liver = ((x + 0.15) / 0.2) ** 2 + ((y + 0.02) / 0.17) ** 2 + (up / 0.22) ** 2 < 1
        lesion = ((x + 0.18) / 0.05) ** 2 + ((y - 0.02) / 0.05) ** 2 + ((up - 0.03) / 0.05) ** 2 < 1
        found = ((x + 0.16) / 0.2) ** 2 + ((y + 0.02) / 0.17) ** 2 + ((up + 0.01) / 0.22) ** 2 < 1
        grey = np.where(body, 40.0, -1000.0) + np.where(liver, 70, 0) - np.where(lesion, 60, 0)
        files["image"][z] = grey + np.where(body, np.roll(noise, z * 37), 0)
        files["truth"][z] = np.where(lesion, 2, liver)
        files["prediction"][z] = np.where(lesion & (up < 0.05), 2, found)
    for file in files.values():
        file.flush()


def load(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, truth, prediction in memory."""
    return tuple(np.load(path / f"{name}.npy") for name in ("image", "truth", "prediction"))


def measure_part(path: Path, what: str) -> dict[str, object]:
    """Seconds of one part and the peak of memory above the arrays, in a process that has done nothing else."""
    image, truth, prediction = load(path)
    figures: dict[str, float] = {}
    spent = measure(lambda: figures.update(PARTS[what](image, truth, prediction, path)))
    return {**{name: round(value, 2) for name, value in spent.items()}, **figures}


def open_view(image, truth, prediction, path: Path) -> dict[str, float]:
    """The whole interactive view in the kernel, then fifty slice changes and the jumps."""
    from helpers import view
    from helpers.data.geometry import Geometry

    started = time.perf_counter()
    box = view.volume(
        image, truth, prediction, geometry=Geometry.identity(SHAPE, SPACING_MM), class_names=CLASSES, interactive=True
    )
    opened = time.perf_counter() - started
    box.panels["slices"].set_active(True)
    random, changes_ms = np.random.default_rng(2), []
    for _ in range(50):
        position = tuple(int(at) for at in random.integers(0, SHAPE))
        started = time.perf_counter()
        box.view_state.position = position
        changes_ms.append(1000 * (time.perf_counter() - started))
    started = time.perf_counter()
    box.press("e")
    return {
        "view_opened_s": round(opened, 2),
        "slice_change_median_ms": round(float(np.median(changes_ms)), 1),
        "slice_change_worst_ms": round(max(changes_ms), 1),
        "largest_error_s": round(time.perf_counter() - started, 2),
    }


def draw_static(image, truth, prediction, path: Path) -> dict[str, float]:
    """The slice montage and the 3-D picture that every run draws of a case."""
    from helpers.data.geometry import Geometry
    from helpers.view import figures
    from helpers.view.windows import load_window

    geometry = Geometry.identity(SHAPE, SPACING_MM)
    window = load_window("ct_abdomen")
    montage = figures.draw_montage(
        "ct", image, prediction, truth, geometry=geometry, class_names=CLASSES, window=window
    )
    figures.save_figure(montage, path / "montage.png")
    body = figures.find_body(image, window.limits(image)[0])
    relief = figures.draw_relief("ct", {"truth": truth, "prediction": prediction}, body, geometry=geometry)
    figures.save_figure(relief, path / "relief.png")
    return {}


def first_picture_s(path: Path) -> dict[str, float]:
    """From Run to a canvas that is not blank, in JupyterLab in Chromium with software WebGL."""
    import nbformat
    from chromium import find_chromium, open_chromium
    from lab_server import start_lab
    from notebook_page import NotebookPage, wait_until_drawn

    cells = [
        f"import numpy as np\nimage, truth, prediction = (np.load('{path}/' + name + '.npy')"
        " for name in ('image', 'truth', 'prediction'))\n"
        "from helpers import view\nfrom helpers.data.geometry import Geometry\nimport ipyniivue",
        f"view.volume(image, truth, prediction, geometry=Geometry.identity({SHAPE}, {SPACING_MM}),"
        f" class_names={CLASSES}, case_id='512 x 512 x 600')",
    ]
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    folder = path / "lab"
    folder.mkdir()
    nbformat.write(notebook, folder / "ct.ipynb")
    with start_lab(folder, folder) as lab, open_chromium(find_chromium(), path / "profile") as watched:
        page = NotebookPage(watched, lab, path)
        page.open("ct.ipynb")
        page.run_first(120)
        started = time.perf_counter()
        page.run_next()
        canvas = page.page.locator(".cookbook-view canvas").first
        canvas.wait_for(timeout=120_000)
        wait_until_drawn(page, canvas, 120, settled=False)
        shown = time.perf_counter() - started
        page.wait(5)
        page.page.locator(".cookbook-view").screenshot(path=str(RESULT.with_suffix(".png")))
    return {"first_picture_s": round(shown, 1), "load_average": round(os.getloadavg()[0], 1)}


PARTS = {"interactive": open_view, "static": draw_static}


def main() -> int:
    """Measures each part in a process of its own and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--browser", action="store_true", help="the first picture in Chromium too")
    parser.add_argument("--part", nargs=2, metavar=("FOLDER", "NAME"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        sys.stdout.write(json.dumps(measure_part(Path(options.part[0]), options.part[1])))
        return 0
    import subprocess

    result = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {}
    result |= {"shape_zyx": SHAPE, "machine": describe_machine()}
    with tempfile.TemporaryDirectory() as folder:
        make_ct(Path(folder))
        for name in PARTS:
            command = [sys.executable, __file__, "--part", folder, name]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            result[name] = json.loads(done.stdout.splitlines()[-1])
        if options.browser:
            result["browser"] = first_picture_s(Path(folder))
    RESULT.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    sys.stdout.write(RESULT.read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The precision study of recipes on held-out demo cases: one table a recipe, as JSON.

    python benchmarks/precision_table.py unet3d_brats nnunet_heart --cases 20

Each recipe is a process of its own. Tables are the same bytes each time; speeds lie apart and are this machine's.
Windows lie side by side and are not mirrored: where nothing is averaged, lower precision has it harder.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.measure import describe_machine  # noqa: E402
from helpers.recipes import recipe_names  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
FIRST_SEED = 9001  # the demo weights saw none from here on
PRECISIONS = "f32,f16_weights,bf16,int8"
# Only these recipes have windows and mirrors.
APART = {"tile_step_size": 1.0}
HARDER = {"unet3d_brats": APART, "unetpp3d_liver": APART, "nnunet_heart": APART | {"mirror_axes": []}}
_logger = logging.getLogger("benchmarks")


def sweep(recipe: str, cases: int, outputs: Path) -> tuple[Path, int]:
    """The run's folder, and the exit code: 1 where a gate does not hold."""
    seeds = list(range(FIRST_SEED, FIRST_SEED + cases))
    command = [sys.executable, "-m", "helpers", "sweep", recipe, "--precisions", PRECISIONS]
    command += ["-p", "demo_seeds", str(seeds), "-p", "outputs", str(outputs), "-p", "study_seconds", "1.0"]
    for name, value in HARDER.get(recipe, {}).items():
        command += ["-p", name, str(value)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    found = sorted((outputs / recipe).glob("*/precision/table.json"))
    if not found:
        raise RuntimeError(f"{recipe} made no table: {done.stderr.strip().splitlines()[-1:]}")
    return found[-1].parents[1], done.returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", default=recipe_names())
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--outputs", type=Path, help="kept there; default: a folder that is removed")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for recipe in arguments.recipes:
        outputs = (arguments.outputs or Path(tempfile.mkdtemp())).resolve()
        folder, code = sweep(recipe, arguments.cases, outputs)
        table = json.loads((folder / "precision/table.json").read_text(encoding="utf-8"))
        command = f"python benchmarks/precision_table.py {recipe} --cases {arguments.cases}"
        result = {"command": command, "cases": arguments.cases, "exit_code": code, "machine": describe_machine()}
        result |= {
            "table": table,
            "speeds": json.loads((folder / "precision/speeds.json").read_text(encoding="utf-8")),
        }
        (RESULTS / f"precision_{recipe}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        shutil.copyfile(folder / "figures/precision.png", RESULTS / f"precision_{recipe}.png")
        for row in table["rows"]:
            _logger.info("%s %s", recipe, {name: row[name] for name in ("cell", "headline", "change", "passed")})
        if arguments.outputs is None:
            shutil.rmtree(outputs)


if __name__ == "__main__":
    main()

"""The folder of a finished run that contains everything an anonymous report must remove."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.data.geometry import Geometry
from helpers.view.figures import draw_montage, draw_scores, save_figure
from helpers.view.windows import GreyWindow

CASES = ("Meier^Anna_1961-03-04", "BraTS-0007", "3")
HOST, FOLDER = "radiology-ws-17", "/home/annameier/studies/2024-05-31"
SECRETS = (
    "Meier",
    "Anna",
    "1961",
    "BraTS-0007",
    HOST,
    "annameier",
    "studies",
    "2024-05-31",
    "31.05.2024",
    "20240531",
)
SECRETS += ("1.2.840.113619.2.55", "MUSTER^MAX", "MUSTER", "tumour board", "board", "/data", "weights_of_meier")


def stage(name: str, title: str, ended: float, **content) -> dict:
    defaults = {"status": "made", "files": [], "checks": [], "facts": {}, "values": {}, "seconds": 1.5, "timings": {}}
    return {"stage": name, "title": title, "ended": ended, **defaults, **content}


def make_record(cases) -> dict:
    scores = {case: {"WT": 0.9 - 0.1 * rank, "ET": None if rank else 0.5} for rank, case in enumerate(cases)}
    masks = [
        stage(f"infer/{case}", f"Mask of {case}", 3.0, timings={"infer": 2.25, "peak_rss_mb": 900.0},
              values={"found": {"tumour": 1234, "oedema": 0}}, files=[f"masks/{case}.nii.gz"])
        for case in cases
    ]  # fmt: skip
    stages = [
        stage("data", "Data", 1.0, values={"cases": list(cases)},
              facts={f"case {cases[0]}": f"read from {FOLDER}/{cases[0]}/t1.nii.gz, study of 31.05.2024 (20240531)"}),
        stage("compile", "Compile", 2.0, facts={"note": "series 1.2.840.113619.2.55.3.1 of MUSTER^MAX", "a": "0.5"}),
        *masks,
        stage("score", "Scores", 4.0, values={"cases": scores, "mean": {"WT": 0.8, "ET": 0.5}},
              checks=[{"name": f"geometry of {cases[0]} & <b>", "passed": True, "figure": "0.8, at least 0.7"}],
              files=["metrics.json", "figures/scores.png"]),
        stage("draw_results", "Pictures of the masks", 5.0,
              files=[f"figures/{rank}_{case}_slices.png" for rank, case in enumerate(cases, 1)]),
    ]  # fmt: skip
    return {
        "title": "A model",
        "score_names": ["WT", "ET"],
        "params": {
            "recipe": "tiny", "profile": "demo", "target": "cpu", "precision": "f32", "batch_size": 1, "cache": True,
            "checkpoint": f"{FOLDER}/weights_of_meier.pth", "data_root": "/data/tumour board", "outputs": FOLDER,
            "cases": list(cases), "minimum_scores": {"WT": 0.7},
        },
        "environment": {"cookbook": "0.1.0", "git_commit": None, "python": "3.11.7",
                        "packages": {"numpy": "2.4.6"}, "machine": {"system": "Linux x86_64", "cpus": 2}},
        "status": "passed", "reason": "", "host": HOST, "pid": 1, "started": time.time(),
        "stages": {entry["stage"]: entry for entry in stages},
    }  # fmt: skip


def draw_case(case: str):
    shape = (6, 40, 50)
    random = np.random.default_rng(0)
    mask = (random.random(shape) > 0.7).astype(np.uint8)
    return draw_montage(
        case,
        random.random(shape).astype(np.float32),
        mask,
        1 - mask,
        geometry=Geometry.identity(shape),
        class_names=("background", "tumour"),
        window=GreyWindow(title="MR", percentiles=(0, 100)),
    )


@pytest.fixture
def finished(tmp_path):
    """`finished.folder`, and `finished.change(**fields)` to rewrite its record."""
    folder = tmp_path / "demo-1a2b3c4d"
    record = make_record(CASES)
    for rank, case in enumerate(CASES, start=1):
        save_figure(draw_case(case), folder / f"figures/{rank}_{case}_slices.png")
    save_figure(draw_scores(record["stages"]["score"]["values"]["cases"]), folder / "figures/scores.png")

    def change(**fields) -> None:
        record.update(fields)
        (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")

    change()
    return SimpleNamespace(folder=Path(folder), record=record, change=change, cases=CASES, secrets=SECRETS)

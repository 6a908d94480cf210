"""The demo's model is the one that its program writes, and its card opens it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from helpers.card.network import open_network
from helpers.card.reading import open_card
from helpers.demo.cells import draw_cells
from helpers.graph.read import load_graph

PROGRAM = Path(__file__).parents[2] / "training" / "make_own_model_demo.py"


def test_the_shipped_file_is_what_its_program_writes():
    spec = importlib.util.spec_from_file_location("make_own_model_demo", PROGRAM)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    assert program.build() == load_graph(program.TARGET)


def test_its_scores_find_the_drawn_classes():
    network = open_network(open_card("demo"))
    image, truth = draw_cells(77)
    scores = network.runner.scores(image[None, None].astype(np.float32) / 255)
    assert np.mean(scores[0].argmax(axis=0) == truth) > 0.98

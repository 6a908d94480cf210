"""Graph rewrites: one class each, with a match, an exact numeric proof and a table of what changed."""

from helpers.graph.surgery.apply import SurgeryReport, apply_surgery, rewrite_graph
from helpers.graph.surgery.base import Rewrite, rewrite_named, rewrite_names
from helpers.graph.surgery.norm import PairwiseInstanceNorm
from helpers.graph.surgery.pad import DropEmptyPad
from helpers.graph.surgery.resize import Resize5DTo4D

__all__ = [
    "DropEmptyPad",
    "PairwiseInstanceNorm",
    "Resize5DTo4D",
    "Rewrite",
    "SurgeryReport",
    "apply_surgery",
    "rewrite_graph",
    "rewrite_named",
    "rewrite_names",
]

"""Graph rewrites, one class each, proven numerically and reported node by node."""

from helpers.graph.surgery.base import (
    Rewrite,
    SurgeryReport,
    rewrite_and_prove,
    rewrite_graph,
    rewrite_in_place,
    rewrite_named,
    rewrite_names,
)
from helpers.graph.surgery.norm import AxiswiseInstanceNorm
from helpers.graph.surgery.pad import DropEmptyPad
from helpers.graph.surgery.resize import Resize5DTo4D
from helpers.graph.surgery.softmax import FlattenSoftmax

__all__ = [
    "AxiswiseInstanceNorm",
    "DropEmptyPad",
    "FlattenSoftmax",
    "Resize5DTo4D",
    "Rewrite",
    "SurgeryReport",
    "rewrite_and_prove",
    "rewrite_graph",
    "rewrite_in_place",
    "rewrite_named",
    "rewrite_names",
]

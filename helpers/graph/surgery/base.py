"""The base of every rewrite: find the nodes by pattern, replace each by an equal piece of graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx

from helpers.graph.read import constants_of, tensor_shapes
from helpers.params.yaml_file import refuse_unknown_name

_REGISTRY: dict[str, type[Rewrite]] = {}


@dataclass(frozen=True)
class GraphView:
    """A model with the facts that a match needs; made once per pass."""

    model: onnx.ModelProto
    shapes: dict[str, tuple[int | None, ...]]
    constants: dict[str, np.ndarray]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> GraphView:
        """The view of a model as it stands."""
        return cls(model, tensor_shapes(model), constants_of(model))


@dataclass(frozen=True)
class Replacement:
    """What takes the place of one node, and how a reader is told.

    With `passes_on`, the node goes without a substitute: its readers get this tensor instead of its output.
    """

    nodes: list[onnx.NodeProto]
    initializers: list[onnx.TensorProto]
    description: str
    passes_on: str | None = None


class Rewrite(ABC):
    """One rewrite. Subclasses register themselves under `name`.

    A rewrite must compute the same numbers: `apply_surgery` proves it on random input and refuses otherwise. One that
    only rounds differently sets `tolerance`, the largest change allowed as a fraction of the output's range. One that
    pays only in some precisions names them in `precisions`.
    """

    name: ClassVar[str]
    why: ClassVar[str]
    tolerance: ClassVar[float] = 0.0
    precisions: ClassVar[frozenset[str] | None] = None

    def __init_subclass__(cls, **kwargs: object):
        super().__init_subclass__(**kwargs)
        _REGISTRY[cls.name] = cls

    @abstractmethod
    def replace(self, node: onnx.NodeProto, view: GraphView) -> Replacement | None:
        """The replacement of a node, or None where the pattern does not match."""


def rewrite_names() -> list[str]:
    """Every known rewrite."""
    return sorted(_REGISTRY)


def rewrite_named(name: str) -> Rewrite:
    """A rewrite by its name.

    Raises:
        ParameterError: there is no such rewrite.
    """
    if name not in _REGISTRY:
        raise refuse_unknown_name("rewrite", name, _REGISTRY)
    return _REGISTRY[name]()

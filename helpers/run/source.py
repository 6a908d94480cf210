"""A parsed source file: definitions, imports and other statements, without docstrings and annotations."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Import:
    """The target of an import: a module, or a name in it."""

    module: str
    name: str | None = None


@dataclass(frozen=True)
class Uses:
    """What a statement uses.

    Attributes:
        names: each with the attributes that follow it, the last one first: `a.b.c` is `("a", "c", "b")`.
        texts: the string constants.
        imports: the imports within it by name; a name has several if one is a fallback for another.
    """

    names: Set[tuple[str, ...]]
    texts: Set[str]
    imports: Mapping[str, Sequence[Import]]


class SourceModule:
    """The top-level definitions of a file by name, its imports, and its other statements."""

    def __init__(self, name: str, path: Path):
        self.name, self.path = name, path
        self.definitions: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, Import] = {}
        self.lazy_imports: dict[str, Import] = {}
        self.statements: list[ast.stmt] = []
        self._bare: dict[str, list[ast.stmt]] = {}
        self._uses: dict[int, Uses] = {}  # by the identity of a bare statement
        for statement in ast.parse(path.read_bytes()).body:
            self._sort(statement)

    def names(self) -> list[str]:
        """The names of all definitions, and "" if there are other statements."""
        return [*self.definitions, *([""] if self.statements else [])]

    def bare(self, name: str, reads_annotations: Callable[[ast.ClassDef], bool]) -> list[ast.stmt]:
        """Returns the statements of a definition without docstrings and annotations.

        Args:
            name: the definition; "" for the other statements.
            reads_annotations: whether a class reads its annotations at run time; they are then kept.
        """
        if name not in self._bare:
            strip = _Strip(reads_annotations)
            statements = self.definitions.get(name, []) if name else self.statements
            self._bare[name] = [strip.visit(statement) for statement in statements]
        return self._bare[name]

    def uses(self, statement: ast.stmt) -> Uses:
        """Returns what a bare statement uses; it is searched once."""
        if id(statement) not in self._uses:
            self._uses[id(statement)] = self._find_uses(statement)
        return self._uses[id(statement)]

    def _find_uses(self, statement: ast.stmt) -> Uses:
        names: set[tuple[str, ...]] = set()
        texts: set[str] = set()
        imports: dict[str, list[Import]] = {}
        nodes: list[ast.AST] = [statement]
        for node in nodes:
            if isinstance(node, (ast.Name, ast.Attribute)):
                inner, attributes = _split_dotted(node)
                if isinstance(inner, ast.Name):
                    names.add((inner.id, *attributes))
                else:
                    nodes.append(inner)
            elif isinstance(node, ast.Constant):
                if isinstance(node.value, str):
                    texts.add(node.value)
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                for name, target in self._targets_of(node):
                    imports.setdefault(name, []).append(target)
            else:
                nodes += _children_of(node)
        return Uses(names, texts, imports)

    def _targets_of(self, node: ast.Import | ast.ImportFrom) -> list[tuple[str, Import]]:
        """The names that an import binds, with their targets."""
        if isinstance(node, ast.ImportFrom):
            source = self._source_of(node)
            return [(alias.asname or alias.name, Import(source, alias.name)) for alias in node.names]
        found = []
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            found.append((name, Import(alias.name if alias.asname else name)))
        return found

    def _source_of(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parents = self.name.split(".")
        parents = parents[: len(parents) - node.level + (self.path.name == "__init__.py")]
        return ".".join([*parents, *([node.module] if node.module else [])])

    def _sort(self, statement: ast.stmt) -> None:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            self.imports |= dict(self._targets_of(statement))
        elif isinstance(statement, ast.If) and _names_type_checking(statement.test):
            self.lazy_imports |= {name: found[-1] for name, found in self._find_uses(statement).imports.items()}
            for other in statement.orelse:
                self._sort(other)
        elif names := _names_bound_by(statement):
            for name in names:
                self.definitions.setdefault(name, []).append(statement)
        elif not _is_text(statement):
            self.statements.append(statement)


class _Strip(ast.NodeTransformer):
    """Removes docstrings, and annotations that are not read at run time."""

    def __init__(self, reads_annotations: Callable[[ast.ClassDef], bool]):
        self._reads_annotations = reads_annotations
        self._kept: list[bool | None] = [None]  # per enclosing scope: None, or whether a class keeps its annotations

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Removes the annotations of arguments and result."""
        node.returns = None
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg):
                argument.annotation = None
        return self._visit_scope(node, None)

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Enters a class; its fields stay fields."""
        return self._visit_scope(node, self._reads_annotations(node))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """Turns an annotated name into an assignment, except for a field of a class."""
        kept = self._kept[-1]
        if kept is None:
            if node.value is None:
                return ast.Pass()
            return self.generic_visit(ast.Assign([node.target], node.value, lineno=node.lineno))
        if not kept:
            node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def _visit_scope(self, node: ast.FunctionDef | ast.ClassDef, kept: bool | None) -> ast.AST:
        node.body = [statement for statement in node.body if not _is_text(statement)] or [ast.Pass()]
        self._kept.append(kept)
        self.generic_visit(node)
        self._kept.pop()
        return node


def _names_type_checking(test: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "TYPE_CHECKING" for node in ast.walk(test))


def _split_dotted(node: ast.expr) -> tuple[ast.expr, list[str]]:
    """What a chain of attributes starts with, and the attributes, the last one first."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return node, attributes


def _children_of(node: ast.AST) -> list[ast.AST]:
    """The nodes directly below one, without Load, Store and Del; in half the time of `ast.iter_child_nodes`."""
    found: list[ast.AST] = []
    for value in vars(node).values():
        if isinstance(value, list):
            found += [each for each in value if isinstance(each, ast.AST)]
        elif isinstance(value, ast.AST) and not isinstance(value, ast.expr_context):
            found.append(value)
    return found


def _names_bound_by(statement: ast.stmt) -> list[str]:
    """The module-level names that a statement binds, including those in its branches."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [statement.name]
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name.partition(".")[0] for alias in statement.names]
    names = []
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.stmt):
            names += _names_bound_by(child)
        elif isinstance(child, (ast.ExceptHandler, ast.match_case)):
            names += [name for inner in child.body for name in _names_bound_by(inner)]
        elif not isinstance(child, ast.expr_context):
            names += [
                inner.id
                for inner in ast.walk(child)
                if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)
            ]
    return names


def _is_text(statement: ast.stmt) -> bool:
    """Whether a statement is a docstring of a definition or an attribute."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )

"""The code that a stage reaches, as a digest that comments, docstrings and annotations do not change.

A cached result must not outlive the code that made it, and should survive a change of any other code. Starting with
the functions and objects of a stage, the sources are therefore searched for every definition that is referred to,
directly or through other definitions. If a name cannot be resolved, its whole module counts. References that exist
only at run time are declared in `DYNAMIC`.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import importlib.util
import inspect
import re
import site
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CellType, CodeType, FunctionType, MethodType, ModuleType

import numpy as np

from helpers.params.paths import SOURCE_ROOT, place_output
from helpers.run.code_memo import CodeMemo
from helpers.run.digest import digest_value
from helpers.run.source import Import, SourceModule

# Packages that cannot change a number of a result, and why; all others count. A stage that draws a picture names a
# function of `view` in its code, and `view` then counts as well.
PASSIVE = {
    "cli": "reads command lines; what it sets are parameters",
    "doctor": "describes the machine",
    "errors": "formats messages",
    "fetch": "downloads files, whose digests are inputs",
    "params": "reads parameters, whose values are inputs",
    "qa": "shows masks and records verdicts",
    "report": "formats what a run recorded",
    "run": "stores and reuses results",
    "view": "draws and tabulates",
}

# Definition -> modules or packages that it refers to by a name that exists only at run time.
DYNAMIC = {
    # Imports helpers.devices.sessions.<runtime>_session, or names its file for a worker.
    "helpers.devices.open:session_file": ("helpers.devices.sessions",),
    "helpers.devices.open:_open_session": ("helpers.devices.sessions",),
    # Programs that another interpreter runs.
    "helpers.devices.worker.process:_CHILD": ("helpers.devices.worker.child",),
    "helpers.compile.magicmind:PROGRAM": ("helpers.compile.programs",),
    # Rewrites register themselves by name when their module is imported.
    "helpers.graph.surgery.base:rewrite_named": ("helpers.graph.surgery",),
}

# Folders of installed packages, also of another environment that this one adds to its path.
_INSTALLED = {"site-packages", "dist-packages"}

_PLAIN = (bool, int, float, str, Path, np.ndarray)
_COLLECTIONS = (Mapping, list, tuple, set, frozenset)

Node = tuple[str, str]  # (module, top-level name); "" names the statements of a module that define nothing


@dataclass(frozen=True)
class Reach:
    """What objects reach.

    Attributes:
        definitions: as (module, top-level name).
        digest: of the code of these definitions.
        libraries: the top-level modules outside of the package that they use, the standard library's among them.
    """

    definitions: frozenset[Node]
    digest: str
    libraries: frozenset[str]


@dataclass(frozen=True)
class CodeDigest:
    """As `Reach`, without the definitions."""

    digest: str
    libraries: frozenset[str]


@functools.cache
def project_code() -> CodeIndex:
    """Returns the index of this project's code, which reads each source once per process."""
    return CodeIndex(SOURCE_ROOT, "helpers", PASSIVE, DYNAMIC)


class CodeIndex:
    """The references between the definitions of a package. A module is parsed when it is first reached.

    Args:
        folder: the folder that holds the package.
        package: its name.
        passive: subpackages and modules that are not followed, unless a root is in them.
        dynamic: definition (`module:name`) to modules and packages that it refers to at run time only.
    """

    def __init__(
        self,
        folder: Path,
        package: str,
        passive: Iterable[str] = (),
        dynamic: Mapping[str, Sequence[str]] | None = None,
    ):
        self._folder, self._package, self._dynamic = folder, package, dynamic or {}
        self._memos: dict[Path, CodeMemo] = {}
        self._held: dict[str, bool] = {}
        self._passive = frozenset(passive)
        self._wider: dict[frozenset[str], CodeIndex] = {}  # by their passive parts
        self._folders: dict[str, Path | None] = {package: folder}  # of each top-level package or module
        self._modules: dict[str, SourceModule | None] = {}
        self._references: dict[Node, frozenset[Node]] = {}
        self._texts: dict[Node, str] = {}
        self._libraries: dict[Node, frozenset[str]] = {}
        self._dotted = re.compile(rf"({re.escape(package)}(?:\.\w+)+)(?::(\w+))?")

    def digest(self, roots: Iterable[object], memo_folder: Path) -> CodeDigest:
        """As `reach`, without the definitions, and without parsing sources if an earlier process kept the answer.

        Args:
            roots: as in `reach`.
            memo_folder: where the answers are kept.
        """
        roots = tuple(roots)
        index = self._index_for(roots)
        start = _Roots(index)
        for root in roots:
            start.add(root)
        reached, libraries = index._remembered(start, memo_folder)
        return CodeDigest(_joined(reached, start), libraries | start.libraries)

    def reach(self, roots: Iterable[object]) -> Reach:
        """Collects the definitions that objects reach.

        Args:
            roots: functions, classes, modules, and instances. A function includes the functions in its closure and
                the classes of other objects there. An instance counts by its class; a dataclass also by the values of
                its fields, and an object in one of them also by its attributes.
        """
        roots = tuple(roots)
        index = self._index_for(roots)
        start = _Roots(index)
        for root in roots:
            start.add(root)
        reached, digest, libraries = index._search(start)
        return Reach(frozenset(reached), _joined(digest, start), start.libraries | libraries)

    def _index_for(self, roots: Sequence[object]) -> CodeIndex:
        """This index, or one that follows the passive part that a root is in."""
        passive = self._passive - {name.split(".")[1] for name in map(_module_of, roots) if self.is_passive(name)}
        if passive == self._passive:
            return self
        wider = CodeIndex(self._folder, self._package, passive, self._dynamic)
        return self._wider.setdefault(passive, wider)

    def _remembered(self, start: _Roots, folder: Path) -> tuple[str, frozenset[str]]:
        """The digest of the definitions that roots reach, and the libraries, from the memo if they are there."""
        if any(module.partition(".")[0] != self._package for module, _ in start.named):
            return self._search(start)[1:]
        if folder not in self._memos:
            self._memos[folder] = CodeMemo(self._folder / self._package, folder)
        memo, named = self._memos[folder], sorted((module, name or "*") for module, name in start.named)
        key = digest_value([named, sorted(self._passive)])
        if found := memo.find(key, lambda top: self._folder_of(top) is None):
            return found
        _, digest, libraries = self._search(start)
        outside = [top for top in self._folders if top != self._package]
        if not any(map(self._folder_of, outside)):  # the user's own modules have no place in the memo
            memo.keep(key, digest, libraries, outside)
        return digest, libraries

    def _search(self, start: _Roots) -> tuple[set[Node], str, frozenset[str]]:
        reached: set[Node] = set()
        waiting = [node for module, name in start.named for node in self._definitions(module, name)]
        while waiting:
            node = waiting.pop()
            if node not in reached:
                reached.add(node)
                waiting += self._refer(node)
        total = hashlib.sha256()
        for module, name in sorted(reached):
            total.update(f"{module}:{name} {self._text((module, name))}\n".encode())
        return reached, total.hexdigest(), frozenset().union(*map(self._libraries_of, reached))

    def _definitions(self, name: str, definition: str | None) -> frozenset[Node]:
        """A definition of a module, or all of the module's if it is not one of them."""
        module = self.module(name)
        known = module is not None and definition is not None and definition in module.definitions
        return frozenset({(name, str(definition))}) if known else self.whole(name)

    def holds(self, name: str) -> bool:
        """Whether a module is one of the package or of the user's own files, and not passive."""
        if name not in self._held:
            self._held[name] = self._find(name) is not None
        return self._held[name]

    def locate(self, module: str, name: str) -> frozenset[Node]:
        """Finds the definitions of a name in a module, through re-exports and lazy imports."""
        found = self.resolve(Import(module, name))
        return self.whole(found) if isinstance(found, str) else found

    def whole(self, name: str) -> frozenset[Node]:
        """Returns all definitions of a module, or of a package with its modules."""
        module = self.module(name)
        if module is None:
            return frozenset()
        nodes = {(name, definition) for definition in module.names()}
        if module.path.name == "__init__.py":
            for path in module.path.parent.iterdir():
                if path.stem != "__init__" and (path.suffix == ".py" or (path / "__init__.py").is_file()):
                    nodes |= self.whole(f"{name}.{path.stem}")
        return frozenset(nodes)

    def named_in(self, text: str) -> frozenset[Node]:
        """Returns the definitions that a string such as `package.module` or `package.module:name` refers to."""
        match = self._dotted.fullmatch(text)
        if match is None or self.module(match[1]) is None:
            return frozenset()
        return self.locate(match[1], match[2]) if match[2] else self.whole(match[1])

    def module(self, name: str) -> SourceModule | None:
        """Returns a module of the package or of the user's own files; None for a passive or installed one."""
        if name not in self._modules:
            path = self._find(name)
            self._modules[name] = SourceModule(name, path) if path else None
        return self._modules[name]

    def resolve(self, target: Import) -> str | frozenset[Node]:
        """Resolves an import to the name of a module or to definitions."""
        if target.name is None:
            return target.module
        module = self.module(target.module)
        if module is None:
            return frozenset()
        name, submodule = target.name, f"{module.name}.{target.name}"
        if name in module.definitions:
            return frozenset({(module.name, name)})
        if module.imports.get(name, target) != target:
            return self.resolve(module.imports[name])
        if self.is_passive(submodule) or self.module(submodule):
            return submodule
        if name in module.lazy_imports:
            found = self.resolve(module.lazy_imports[name])
            found = self.whole(found) if isinstance(found, str) else found
            return found | {(module.name, "__getattr__")}
        return self.whole(module.name)

    def is_passive(self, name: str) -> bool:
        """Whether a module is in a part of the package that is not followed."""
        top, *rest = name.split(".")
        return top == self._package and bool(rest) and rest[0] in self._passive

    def _find(self, name: str) -> Path | None:
        top, *rest = name.split(".")
        folder = self._folder_of(top)
        if folder is None or self.is_passive(name):
            return None
        base = folder.joinpath(top, *rest)
        return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)

    def _folder_of(self, top: str) -> Path | None:
        """The folder with a top-level module or package; None for an installed one."""
        if top not in self._folders:
            self._folders[top] = _local_folder(top)
        return self._folders[top]

    def _refer(self, node: Node) -> frozenset[Node]:
        """The definitions that one refers to, and the remaining statements of the modules that this imports."""
        if node not in self._references:
            module = self.module(node[0])
            found = set(_References(self, module).of(self._statements(node))) if module else set()
            for name in self._dynamic.get(f"{node[0]}:{node[1]}", ()):
                found |= self.whole(name)
            touched = {name for name, _ in {*found, node}}
            touched |= {name[: match.start()] for name in touched for match in re.finditer(r"\.", name)}
            found |= {(name, "") for name in touched if (own := self.module(name)) and own.statements}
            self._references[node] = frozenset(found)
        return self._references[node]

    def _statements(self, node: Node) -> list[ast.stmt]:
        module = self.module(node[0])
        return module.bare(node[1], partial(self._reads_annotations, module)) if module else []

    def _reads_annotations(
        self, module: SourceModule, node: ast.ClassDef, derived: frozenset[Node] = frozenset()
    ) -> bool:
        """Whether a class is a pydantic model, which validates with its annotations.

        Args:
            module, node: the class.
            derived: the classes below it. A base that cannot be resolved stands for a whole module or package, which
                may contain them.
        """
        derived |= {(module.name, node.name)}
        for base in node.bases:
            name = base.id if isinstance(base, ast.Name) else base.attr if isinstance(base, ast.Attribute) else ""
            if name == "BaseModel":
                return True
            known = name in module.imports or (name in module.definitions and name != node.name)
            for home, found in self.locate(module.name, name) - derived if known else ():
                own = self.module(home)
                for each in own.definitions.get(found, []) if own else ():
                    if own and isinstance(each, ast.ClassDef) and self._reads_annotations(own, each, derived):
                        return True
        return False

    def _text(self, node: Node) -> str:
        """The code of a definition as text, with the origin of the names that it uses from other packages."""
        if node not in self._texts:
            outside = self._used_imports(node)
            sources = [f"{name}={outside[name]}" for name in sorted(outside)]
            self._texts[node] = "\n".join([*sources, *map(ast.dump, self._statements(node))])
        return self._texts[node]

    def _used_imports(self, node: Node) -> dict[str, Import]:
        """The names from other packages that a definition uses and its module imports."""
        module = self.module(node[0])
        if module is None:
            return {}
        used = {name for statement in self._statements(node) for name, *_ in module.uses(statement).names}
        imports = module.imports
        return {name: imports[name] for name in used & imports.keys() if _top(imports[name]) != self._package}

    def _libraries_of(self, node: Node) -> frozenset[str]:
        """The top-level modules of other packages that a definition uses, or imports itself."""
        if node not in self._libraries:
            module, used = self.module(node[0]), list(self._used_imports(node).values())
            for statement in self._statements(node) if module else ():
                used += (
                    [each for found in module.uses(statement).imports.values() for each in found] if module else []
                )
            self._libraries[node] = frozenset(map(_top, used)) - {self._package}
        return self._libraries[node]


class _References:
    """Collects the definitions that statements of a module refer to."""

    def __init__(self, index: CodeIndex, module: SourceModule):
        self._index, self._module = index, module
        self._inner: Mapping[str, Sequence[Import]] = {}
        self._found: set[Node] = set()

    def of(self, statements: Iterable[ast.stmt]) -> set[Node]:
        """Returns the definitions that statements refer to."""
        for statement in statements:
            uses = self._module.uses(statement)
            self._inner = uses.imports
            for name, *attributes in uses.names:  # a module that is used as an object counts as a whole
                self._take(name, attributes)
            for text in uses.texts:  # a registry imports the module or definition that a string names
                self._found |= self._index.named_in(text)
            if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                for name in self._inner:  # a guarded import; the module uses its names elsewhere
                    self._take(name, [])
        return self._found

    def _take(self, name: str, attributes: list[str]) -> None:
        """Adds a name, followed by attributes (in reverse order) as far as they lead through modules."""
        for found in self._lookup(name):
            way = list(attributes)
            while way and isinstance(found, str):
                found = self._index.resolve(Import(found, way.pop()))
            self._found |= self._index.whole(found) if isinstance(found, str) else found

    def _lookup(self, name: str) -> list[str | frozenset[Node]]:
        if name not in self._inner and name in self._module.definitions:
            return [frozenset({(self._module.name, name)})]
        outer = [self._module.imports[name]] if name in self._module.imports else []
        return [self._index.resolve(each) for each in self._inner.get(name, outer)]


class _Roots:
    """The definitions and plain values of the root objects."""

    def __init__(self, index: CodeIndex):
        self._index = index
        self._seen: set[int] = set()
        self.named: set[tuple[str, str | None]] = set()  # (module, definition); None is the whole module
        self.values: list[str] = []
        self.libraries: frozenset[str] = frozenset()

    def add(self, root: object, place: str = "") -> None:
        """Adds an object; `place` names the field that holds it."""
        root = inspect.unwrap(root) if callable(root) else root
        if isinstance(root, ModuleType):
            self.named.add((root.__name__, None))
        elif isinstance(root, MethodType):
            self.add(root.__self__, place)
        elif isinstance(root, partial):
            self._add_all({"func": root.func, "args": root.args, **root.keywords}, place)
        elif isinstance(root, (FunctionType, type)):
            self._add_definition(root, place)
        elif self._index.is_passive(type(root).__module__):
            return
        elif self._index.holds(type(root).__module__):
            self._add_instance(root, place)
        else:
            self._add_value(root, place)

    def _add_definition(self, root: FunctionType | type, place: str) -> None:
        if self._index.holds(root.__module__):
            self._add_node(root)
        elif not self._index.is_passive(root.__module__):
            self.values.append(f"{place} {root.__module__}.{root.__qualname__} {_typed_in(root)}")
            self.libraries |= {root.__module__.partition(".")[0]}
        cells: tuple[CellType, ...] = getattr(root, "__closure__", None) or ()
        for content in (content for cell in cells for content in _content(cell)):
            if not isinstance(content, (FunctionType, partial)):
                self._add_node(type(content))
                if place and isinstance(content, (*_PLAIN, *_COLLECTIONS)):  # a stage's own values are its inputs
                    self.add(content, f"{place}.closure ")
            elif id(content) not in self._seen:
                self._seen.add(id(content))
                self.add(content, place)

    def _add_node(self, root: FunctionType | type) -> None:
        if self._index.holds(root.__module__):
            self.named.add((root.__module__, root.__qualname__.partition(".")[0]))

    def _add_instance(self, root: object, place: str) -> None:
        self._add_definition(type(root), place)
        if id(root) in self._seen:
            return
        self._seen.add(id(root))
        if dataclasses.is_dataclass(root):
            names = [field.name for field in dataclasses.fields(root)]
        else:  # outside of a field it may hold what changes in a run: a source of masks holds the opened device
            names = sorted(getattr(root, "__dict__", ())) if place else []
        self._add_all({name: getattr(root, name) for name in names}, f"{place}{type(root).__qualname__}.")

    def _add_value(self, value: object, place: str) -> None:
        if isinstance(value, Mapping):
            self._add_all({repr(key): part for key, part in value.items()}, place)
        elif isinstance(value, (list, tuple)):
            self._add_all({str(index): part for index, part in enumerate(value)}, place)
        else:
            self.values.append(f"{place} {_show(value)}")

    def _add_all(self, parts: Mapping[str, object], place: str) -> None:
        for name, part in parts.items():
            self.add(part, f"{place}{name}")


def memo_folder(outputs: str) -> Path:
    """Where the outputs folder keeps what the code reaches."""
    return place_output(outputs) / ".code"


def _joined(digest: str, start: _Roots) -> str:
    """The digest of the definitions, and of the values of the roots."""
    return digest_value([digest, *sorted(start.values)])


def _top(source: Import) -> str:
    return source.module.partition(".")[0]


def _module_of(root: object) -> str:
    if isinstance(root, ModuleType):
        return root.__name__
    return root.__module__ if isinstance(root, (FunctionType, type)) else ""


def _show(value: object) -> str:
    """Formats a plain value identically in every process and on every machine."""
    if isinstance(value, Path):
        inside = value.is_relative_to(SOURCE_ROOT)
        return value.relative_to(SOURCE_ROOT).as_posix() if inside else str(value)
    if isinstance(value, (set, frozenset)):
        return str(sorted(map(_show, value)))
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    has_own = type(value).__repr__ is not object.__repr__
    return repr(value) if has_own else type(value).__qualname__


def _content(cell: CellType) -> list[object]:
    try:
        return [cell.cell_contents]
    except ValueError:  # not assigned yet
        return []


def _typed_in(root: FunctionType | type) -> str:
    """The compiled code of a definition in a notebook cell, which has no file; empty for installed code."""
    if root.__module__ != "__main__":
        return ""
    functions = [root] if isinstance(root, FunctionType) else [vars(root)[name] for name in sorted(vars(root))]
    return " ".join(_show_code(each.__code__) for each in functions if isinstance(each, FunctionType))


def _show_code(code: CodeType) -> str:
    constants = [_show_code(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"


def _local_folder(top: str) -> Path | None:
    """The folder that contains a user's own top-level module; None for an installed one."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.has_location or not spec.origin:
        return None
    path = Path(spec.origin)
    installed = {*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()}
    if any(path.is_relative_to(folder) for folder in installed) or _INSTALLED & set(path.parts):
        return None
    return path.parents[1] if path.name == "__init__.py" else path.parent

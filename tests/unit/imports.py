"""Find which module imports which, from the source alone. Imports inside functions count too."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.unit import sources


class Import(NamedTuple):
    """One import of a module."""

    importer: str
    imported: str
    """A module of the repository where it is one, else the name as it stands in the source."""
    line: int

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def module_name(root: Path, path: Path) -> str:
    """Return the dotted name of a file's module."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(root: Path, *tops: str) -> dict[str, Path]:
    """Return the files of the modules in these folders of a repository, by the modules' names."""
    return {module_name(root, path): path for path in sources.files(root, *tops)}


def imports(root: Path, *tops: str) -> list[Import]:
    """Return all imports of the modules in these folders of a repository."""
    paths = modules(root, *tops)
    return [found for name, path in paths.items() for found in _imports_of(name, path, paths)]


def _imports_of(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[Import]:
    for node in ast.walk(sources.tree(path)):
        if isinstance(node, ast.Import):
            yield from (Import(name, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(node, name, is_package=path.name == "__init__.py")
            for alias in node.names:
                submodule = f"{source}.{alias.name}"
                yield Import(name, submodule if submodule in known else source, node.lineno)


def _absolute(node: ast.ImportFrom, name: str, *, is_package: bool) -> str:
    if node.level == 0:
        return node.module or ""
    parts = name.split(".")
    base = parts[: len(parts) - node.level + is_package]
    return ".".join([*base, *([node.module] if node.module else [])])


def is_in(module: str, package: str) -> bool:
    """Return whether a module is a package or lies in it."""
    return module == package or module.startswith(f"{package}.")


def cycle(found: Sequence[Import]) -> list[str]:
    """Return the modules of one import cycle, in its order; empty when there is none."""
    edges: dict[str, set[str]] = {}
    for item in found:
        edges.setdefault(item.importer, set()).add(item.imported)
    done: set[str] = set()
    for start in sorted(edges):
        circle = _cycle_from(start, edges, [], done)
        if circle:
            return circle
    return []


def _cycle_from(module: str, edges: Mapping[str, set[str]], path: list[str], done: set[str]) -> list[str]:
    if module in path:
        return [*path[path.index(module) :], module]
    if module in done:
        return []
    path.append(module)
    for imported in sorted(edges.get(module, ())):
        circle = _cycle_from(imported, edges, path, done)
        if circle:
            return circle
    path.pop()
    done.add(module)
    return []


def reachable(found: Sequence[Import], package: str) -> set[str]:
    """Return the modules that an import of the package's modules loads, with the packages above each."""
    edges: dict[str, set[str]] = {}
    for item in found:
        edges.setdefault(item.importer, set()).add(item.imported)
    loaded = {item.importer for item in found if is_in(item.importer, package)}
    pending = list(loaded)
    while pending:
        module = pending.pop()
        above = module.rpartition(".")[0]
        for imported in {*edges.get(module, ()), *([above] if above else [])} - loaded:
            loaded.add(imported)
            pending.append(imported)
    return loaded

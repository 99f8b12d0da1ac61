"""Read the repository's Python source once for all tests that check it."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def tree(path: Path) -> ast.Module:
    """Return the syntax tree of a file, which is parsed once a session."""
    return _parsed(path.read_bytes())


@functools.cache
def _parsed(source: bytes) -> ast.Module:
    return ast.parse(source)


def files(root: Path, *tops: str) -> Iterator[Path]:
    """Yield the Python files of these folders of a repository; of all its folders when none is given."""
    folders = [root / top for top in tops] if tops else [path for path in root.iterdir() if path.is_dir()]
    for folder in sorted(folders):
        if not folder.name.startswith(".") and folder.name != "build":
            yield from sorted(folder.rglob("*.py"))

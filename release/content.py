"""Content hashes, which key every cache entry and image tag, and the cache itself."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from release.paths import CACHE


def digest(*parts: str | Path) -> str:
    """Return a hash of texts and files as 16 hexadecimal digits.

    A directory counts with the names, modes and contents of all its files, but for ``__pycache__``. Raises
    ``FileNotFoundError`` when a path does not exist.
    """
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            total.update(b"text\0" + part.encode() + b"\0")
            continue
        for path in _files(part):
            executable = "x" if os.access(path, os.X_OK) else "-"
            total.update(f"file\0{path.relative_to(part.parent)}\0{executable}\0".encode())
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def _files(path: Path) -> Iterable[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(path)
    return sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def cached(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """Return the cache's directory ``kind/key``; ``make`` fills it when it is absent.

    ``make`` fills a temporary directory, which is then renamed: an interrupt leaves no entry that looks complete, and
    two processes may make the same entry at the same time.
    """
    place = CACHE / kind / key
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=place.parent))
    try:
        temporary.chmod(0o755)
        make(temporary)
        if not place.is_dir():
            temporary.rename(place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return place


@dataclass(frozen=True)
class Input:
    """A file or directory that goes into a build. Its key is known before it is made."""

    key: str
    make: Callable[[], Path]
    """Makes the file or directory unless it exists, and returns its path."""


def source(path: Path) -> Input:
    """Return a file or directory of the clone as an input."""
    return Input(digest(path), lambda: path)


def cached_input(kind: str, key: str, make: Callable[[Path], None]) -> Input:
    """Return an entry of the cache as an input, made by :func:`cached` when a build needs it."""
    return Input(f"{kind}/{key}", lambda: cached(kind, key, make))

"""Content hashes: what keys every cache entry and image tag."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from testbed.paths import CACHE


def digest(*parts: str | Path) -> str:
    """Hash of texts and files (a directory counts with all its files, their names and modes): 16 hex digits."""
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
    """The cache's directory ``kind/key``; when absent, ``make`` fills a temporary one that then takes its name.

    An interrupt leaves nothing that looks complete, and two processes may do it at once.
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
    """Something that another thing is made from: its key is known before it is there."""

    key: str
    make: Callable[[], Path]
    """Returns where it is, after making it if need be."""


def source(path: Path) -> Input:
    """A file or directory of the clone."""
    return Input(digest(path), lambda: path)


def cached_input(kind: str, key: str, make: Callable[[Path], None]) -> Input:
    """An entry of the cache, made (see :func:`cached`) only when somebody needs it."""
    return Input(f"{kind}/{key}", lambda: cached(kind, key, make))

"""Secrets of the running testbed: files that only their owner can read, made once."""

import os
import secrets
from pathlib import Path

from testbed.paths import SECRETS


def ensure(name: str, octets: int = 32) -> tuple[Path, bool]:
    """Return the file ``SECRETS/name``, and whether it is new. A new one has that many random octets in hexadecimal
    digits."""
    path = SECRETS / name
    if path.is_file() and path.stat().st_size:
        return path, False
    write(path, secrets.token_hex(octets))
    return path, True


def write(path: Path, text: str) -> None:
    """Write a secret to a file that is complete or absent, and that other users can't read at any moment."""
    for directory in reversed([parent for parent in path.parents if parent.is_relative_to(SECRETS)]):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    temporary.replace(path)

"""The program that the tests start as pods and jobs do, and the variables that they hand to it."""

import os
import shutil
from pathlib import Path

from gateway.as_user import preflight

PROGRAM = Path(preflight.__file__)
SYSTEM = {"PATH": "/usr/bin:/bin"}
"""The environment variables of a machine."""
HOSTILE = {
    "LINES": "first\nsecond\n",
    "QUOTES": 'it\'s "here" \\ `id`',
    "REFERENCES": "$HOME ${HOME} $(HOME) $$ %PATH% %%",
    "EQUALS": "=a=b",
    "EMPTY": "",
    "UNICODE": "☃ \u202e",
    "BYTES": os.fsdecode(b"\xff\xfe\x80"),
    "ESCAPES": "\x1b[31m\r\t\x01",
}
"""Variables of a user that a shell, a template or a text format would change."""


def copied(directory: Path) -> Path:
    """Copy the program and its companions into a new directory, as images and cluster folders have them."""
    directory.mkdir()
    for name in (PROGRAM.name, *preflight.COMPANIONS):
        shutil.copy(PROGRAM.with_name(name), directory)
    return directory / PROGRAM.name

"""Run other programs: their output goes to a log, their errors carry what they printed."""

import contextvars
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

log_file: contextvars.ContextVar[IO[str] | None] = contextvars.ContextVar("log_file", default=None)
"""Where :func:`run` sends the output of programs in this context, for example the log of a testbed's step.

Without one, programs inherit this process's standard output and standard error.
"""


class CommandError(Exception):
    """A program that exited with another code than 0."""

    def __init__(self, command: Sequence[str], code: int, output: str) -> None:
        self.command, self.code, self.output = tuple(command), code, output
        super().__init__(f"{shlex.join(command)[:200]}: exit code {code}\n{output[-2000:]}".rstrip())


def say(message: str) -> None:
    """Write a line to :data:`log_file`, if there is one."""
    stream = log_file.get()
    if stream is not None:
        stream.write(f"{message}\n")
        stream.flush()


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    standard_input: str | None = None,
    timeout_seconds: float = 1800,
) -> None:
    """Run a program with its output in :data:`log_file`.

    ``environment`` is added to this process's own. Raises :class:`CommandError`, or ``subprocess.TimeoutExpired``.
    """
    arguments = [str(part) for part in command]
    say(f"+ {shlex.join(arguments)}")
    completed = subprocess.run(
        arguments,
        env={**os.environ, **(environment or {})},
        cwd=directory,
        input=standard_input,
        stdin=subprocess.DEVNULL if standard_input is None else None,
        stdout=log_file.get(),
        stderr=subprocess.STDOUT if log_file.get() else None,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
    if completed.returncode:
        raise CommandError(arguments, completed.returncode, "")


def capture(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    standard_input: str | None = None,
    timeout_seconds: float = 300,
) -> str:
    """Run a program and return its standard output.

    Raises like :func:`run`; the error carries the end of the output.
    """
    arguments = [str(part) for part in command]
    completed = subprocess.run(
        arguments,
        env={**os.environ, **(environment or {})},
        cwd=directory,
        input=standard_input,
        stdin=subprocess.DEVNULL if standard_input is None else None,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
    if completed.returncode:
        raise CommandError(arguments, completed.returncode, completed.stdout + completed.stderr)
    return completed.stdout


def succeeds(command: Sequence[str | Path], *, timeout_seconds: float = 60) -> bool:
    """Return whether a program exits with 0. Its output is dropped."""
    try:
        capture(command, timeout_seconds=timeout_seconds)
    except (CommandError, FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return True

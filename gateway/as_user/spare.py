"""An interpreter in reserve, with all that this one has imported, for the first process that multiprocessing spawns.

A nanny imports Dask and spawns the worker, which imports the same again: a quarter of a second of the processor for
each worker (not reported upstream). distributed's own answer, the method ``forkserver``, imports in a third process
meanwhile, which helps only where a worker has a second core, and forks each worker from what was imported then.

Here a process forks as soon as it has imported and before it does anything else. Its child waits, and becomes the first
process that is spawned, by the protocol of the method ``spawn``. Each later one is spawned as ever, and sees what was
installed or set since. Whenever something is not as expected, the first is, too.

Standard library only, one file, for Python >= 3.8: it runs in the user's interpreter.
"""

import fcntl
import gc
import multiprocessing
import os
import sys
from multiprocessing import reduction, util
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any, Dict, List, Optional, Sequence, Tuple

READ_AT_START = ("GLIBC_TUNABLES", "LD_", "MALLOC_", "PYTHON")
"""Beginnings of environment variables that the C library and Python read when a program starts, and never again."""
SPAWNED = "--multiprocessing-fork"
"""Last argument of an interpreter that is spawned (``multiprocessing.spawn.get_command_line``)."""


def keep_ready(started_with: Dict[str, str]) -> None:
    """Fork the interpreter in reserve, if nothing is in the way; returns in the parent only.

    The variables are those of :data:`READ_AT_START` with which this process was started.
    """
    if _threads() != 1:
        # A lock that another thread holds would stay locked.
        return
    ours, theirs = multiprocessing.Pipe()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # Both keep the pages of what was imported in common, as long as the collector does not write into them.
    gc.freeze()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _await_work(theirs)
    theirs.close()
    _Spare(pid, ours, started_with).offer()


def _threads() -> int:
    """Of this process, those of libraries included."""
    return len(os.listdir("/proc/self/task"))


class _Spare:
    """The interpreter in reserve, as its parent has it."""

    def __init__(self, pid: int, connection: Connection, started_with: Dict[str, str]) -> None:
        self._pid, self._connection, self._started_with = pid, connection, started_with
        self._spawn_as_ever = util.spawnv_passfds

    def offer(self) -> None:
        """Wait for what multiprocessing spawns."""
        util.spawnv_passfds = self._spawn

    def _spawn(self, path: bytes, args: Sequence[Any], passfds: Sequence[int]) -> int:
        """In place of ``multiprocessing.util.spawnv_passfds``, whose arguments it has; returns the process' id."""
        if args[-1] != SPAWNED:
            # Multiprocessing starts a resource tracker by the same function.
            return self._spawn_as_ever(path, args, passfds)
        util.spawnv_passfds = self._spawn_as_ever
        with self._connection:
            if self._suits(args) and self._hand_over(args[-2:], sorted(map(int, passfds))):
                return self._pid
        os.waitpid(self._pid, 0)
        return self._spawn_as_ever(path, args, passfds)

    def _suits(self, arguments: Sequence[Any]) -> bool:
        return arguments[-3] == "-c" and read_at_start().items() <= self._started_with.items()

    def _hand_over(self, arguments: Sequence[Any], numbers: List[int]) -> bool:
        try:
            self._connection.send((arguments, dict(os.environ), numbers))
            for number in numbers:
                reduction.send_handle(self._connection, number, self._pid)
        except OSError:
            return False
        return True


def read_at_start() -> Dict[str, str]:
    """The variables of :data:`READ_AT_START` as they are now."""
    return {name: value for name, value in os.environ.items() if name.startswith(READ_AT_START)}


def _await_work(connection: Connection) -> None:
    """Do what ``python -c CODE --multiprocessing-fork`` would; does not return."""
    work = _received(connection)
    connection.close()
    if work is None:
        os._exit(0)
    (code, *arguments), variables, descriptors, numbers = work
    os.environ.clear()
    os.environ.update(variables)
    _place(descriptors, numbers)
    sys.argv = ["-c", *arguments]
    main = sys.modules["__main__"] = ModuleType("__main__")
    exec(code, main.__dict__)  # noqa: S102 - of the parent, which is this program
    sys.exit()


def _received(connection: Connection) -> Optional[Tuple[List[str], Dict[str, str], List[int], List[int]]]:
    """What :meth:`_Spare._hand_over` has sent; None where the parent is gone or has spawned without this process."""
    try:
        arguments, variables, numbers = connection.recv()
        return arguments, variables, [reduction.recv_handle(connection) for _ in numbers], numbers
    except (EOFError, OSError, RuntimeError):
        # The last is how reduction calls the end of a connection.
        return None


def _place(descriptors: List[int], numbers: List[int]) -> None:
    """Have descriptors under the numbers that the code names."""
    unused = max(numbers) + 1
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, unused) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    for descriptor, number in zip(moved, numbers):  # noqa: B905 - Python 3.8 has no strict
        os.dup2(descriptor, number)
        os.close(descriptor)

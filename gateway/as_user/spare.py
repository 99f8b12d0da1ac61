"""The spare interpreter: a forked process, with Dask imported, that becomes the first process multiprocessing spawns.

A nanny imports Dask and spawns the worker, which imports the same again: a quarter of a second of CPU time for each
worker (not reported upstream). distributed's own method ``forkserver`` imports in a third process meanwhile, and forks
each worker from the modules that were imported then; this helps only where a worker has a second core.

Here, the nanny's process forks as soon as it has imported Dask, before it does anything else. The child waits, and
becomes the first spawned process by the protocol of the method ``spawn``. Later processes are spawned as usual, and so
see packages that were installed and variables that were set since. When any condition fails, the first process is
spawned as usual, too.

One file, standard library only, for Python >= 3.8: it runs in the user's interpreter.
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

READ_AT_START = ("GLIBC_TUNABLES", "LD_", "MALLOC_", "MKL_", "OMP_", "OPENBLAS_", "PYTHON")
"""Prefixes of environment variables that the C library, Python and numpy's libraries read only at a program's start."""
SPAWNED = "--multiprocessing-fork"
"""Last argument of an interpreter that multiprocessing spawns (``multiprocessing.spawn.get_command_line``)."""


def keep_ready(started_with: Dict[str, str]) -> None:
    """Fork the spare interpreter, unless this process has other threads; return in the parent only.

    ``started_with`` are the variables of :data:`READ_AT_START` with which this process started.
    """
    if _threads() != 1:
        # A lock that another thread holds would stay locked in the child.
        return
    ours, theirs = multiprocessing.Pipe()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # Parent and child share the pages of the imported modules until the garbage collector writes into them.
    gc.freeze()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _await_work(theirs)
    theirs.close()
    _Spare(pid, ours, started_with).offer()


def _threads() -> int:
    """Return the number of threads of this process, those of libraries included."""
    return len(os.listdir("/proc/self/task"))


class _Spare:
    """The parent's side of the spare interpreter."""

    def __init__(self, pid: int, connection: Connection, started_with: Dict[str, str]) -> None:
        self._pid, self._connection, self._started_with = pid, connection, started_with
        self._spawn_as_usual = util.spawnv_passfds

    def offer(self) -> None:
        """Take the place of the function by which multiprocessing spawns, until its first call."""
        util.spawnv_passfds = self._spawn

    def _spawn(self, path: bytes, args: Sequence[Any], passfds: Sequence[int]) -> int:
        """Replace ``multiprocessing.util.spawnv_passfds``, with its arguments; return the process id."""
        if args[-1] != SPAWNED:
            # Multiprocessing starts its resource tracker by the same function.
            return self._spawn_as_usual(path, args, passfds)
        util.spawnv_passfds = self._spawn_as_usual
        with self._connection:
            if self._suits(args) and self._hand_over(args[-2:], sorted(map(int, passfds))):
                return self._pid
        os.waitpid(self._pid, 0)
        return self._spawn_as_usual(path, args, passfds)

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
    """Return the present variables of :data:`READ_AT_START`."""
    return {name: value for name, value in os.environ.items() if name.startswith(READ_AT_START)}


def _await_work(connection: Connection) -> None:
    """Wait for the parent, then act as ``python -c CODE --multiprocessing-fork``; never return."""
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
    exec(code, main.__dict__)  # noqa: S102 - the parent sends it, which runs this program too
    sys.exit()


def _received(connection: Connection) -> Optional[Tuple[List[str], Dict[str, str], List[int], List[int]]]:
    """Return what :meth:`_Spare._hand_over` sent; None when the parent has ended or spawns without this process."""
    try:
        arguments, variables, numbers = connection.recv()
        return arguments, variables, [reduction.recv_handle(connection) for _ in numbers], numbers
    except (EOFError, OSError, RuntimeError):
        # Module reduction raises RuntimeError at the end of a connection.
        return None


def _place(descriptors: List[int], numbers: List[int]) -> None:
    """Move each file descriptor to the number that the code uses for it."""
    unused = max(numbers) + 1
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, unused) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    for descriptor, number in zip(moved, numbers):  # noqa: B905 - Python 3.8 has no strict
        os.dup2(descriptor, number)
        os.close(descriptor)

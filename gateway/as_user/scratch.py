"""The private directory of a job on its node, which is the user's HOME there.

One file, standard library only, for Python >= 3.8: it runs as the user, in an interpreter of the machine or the user's.
"""

import atexit
import os


def make(name: str) -> str:
    """Create a directory for this user alone in the job's TMPDIR, and return its path. Raises ``OSError``.

    The path begins with ``name`` and ends at random: no other user can take it before, or lay a link there.
    """
    parent = os.environ.get("TMPDIR", "")
    parent = parent if os.path.isdir(parent) else "/tmp"  # noqa: S108 - the new directory is private
    directory = os.path.join(parent, f"{name}-{os.urandom(8).hex()}")
    os.mkdir(directory, 0o700)
    return directory


def remove(directory: str) -> None:
    """Remove a directory with all that is in it, as far as that is possible."""
    # Most starts remove nothing, and importing shutil costs more than the rest of this file.
    import shutil  # noqa: PLC0415

    shutil.rmtree(directory, ignore_errors=True)


def remove_at_exit(directory: str) -> None:
    """Remove a directory when this process ends, but not when a process that it forks ends."""
    owner = os.getpid()
    atexit.register(lambda: remove(directory) if os.getpid() == owner else None)

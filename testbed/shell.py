"""A prompt in the notebook container."""

import subprocess
import sys

from testbed import hub, notebook, people


def run(name: str) -> int:
    """Give a shell as that person; a script comes from standard input when that is no terminal.

    Returns the shell's exit code, 2 for somebody whom the testbed does not know.
    """
    known = [person.name for person in people.load().people]
    if name not in known:
        sys.stderr.write(f"nobody here is called {name}; there are {', '.join(known)}\n")
        return 2
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if terminal:
        sys.stdout.write(f"You are {name} in the notebook container; `python` has the Dask Gateway client.\n")
        sys.stdout.flush()
    try:
        with notebook.Session(name) as session:
            return subprocess.run(session.command(["bash"], terminal=terminal), check=False).returncode
    except hub.NoTokenError as error:
        sys.stderr.write(f"{error}\n")
        return 1

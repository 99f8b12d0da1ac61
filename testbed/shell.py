"""A shell in the notebook container."""

import subprocess
import sys

from testbed import hub, notebook, people


def run(name: str) -> int:
    """Run a shell as a person; without a terminal it reads a script from standard input.

    Returns the shell's exit code, or 2 when the testbed has no person of that name.
    """
    known = [person.name for person in people.load().people]
    if name not in known:
        sys.stderr.write(f"The testbed has no person {name}. Choose one of {', '.join(known)}.\n")
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

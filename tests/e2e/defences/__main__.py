"""Remove each defence, see its tests fail, restore it, see them pass: ``python -m tests.e2e.defences [FINDING...]``.

Prints a line for each step, and below it one for each test. Exits with 1 when a test passes without its defence, fails
without it by another reason, or fails with it. ``--list`` prints the catalogue.
"""

import argparse
import contextlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from release.process import CommandError
from tests.e2e.defences import runs
from tests.e2e.defences.catalogue import DEFENCES
from tests.e2e.defences.defence import Defence
from tests.e2e.defences.removal import EditError

FAULTS = (CommandError, EditError, OSError, ValueError, LookupError, subprocess.SubprocessError)
"""What a removal may raise when the testbed is not as it expects."""


def main() -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(prog="make breaks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("finding", nargs="*", help="for example R3; all of the catalogue when none is given")
    parser.add_argument("--list", action="store_true", help="print the catalogue")
    arguments = parser.parse_args()
    known = {defence.finding for defence in DEFENCES}
    if unknown := set(arguments.finding) - known:
        parser.error(f"no defence is listed for {', '.join(sorted(unknown))}; the list has {', '.join(sorted(known))}")
    chosen = [defence for defence in DEFENCES if not arguments.finding or defence.finding in arguments.finding]
    if arguments.list:
        for defence in chosen:
            _say(defence, f"{defence.what}: {', '.join(defence.tests)}")
        return 0
    # The defence is restored also when the program is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return _break_all(chosen)


def _break_all(chosen: Sequence[Defence]) -> int:
    # A run that was killed has restored nothing.
    fault = "of an earlier run can't be restored"
    restored = [_done(defence, fault, defence.removal.restore) for defence in DEFENCES]
    if not all(restored):
        return 1
    unproven = [f"{defence.finding} ({defence.what})" for defence in chosen if not break_one(defence)]
    print(f"{len(chosen) - len(unproven)} of {len(chosen)} defences: their tests fail without them and pass with them.")
    for line in unproven:
        print(f"  not proven: {line}")
    return 1 if unproven else 0


def break_one(defence: Defence) -> bool:
    """Prove a defence; return whether its tests failed without it, by the attack's reason, and passed with it."""
    name, count = f"{defence.finding}-{re.sub('[^a-z]+', '-', defence.what.lower())[:40]}", len(defence.tests)
    _say(defence, f"removing the defence, so that {defence.what}")
    with contextlib.ExitStack() as stack:
        if not _done(defence, "can't be removed", lambda: stack.enter_context(defence.removal.removed())):
            return False
        begin = time.monotonic()
        run = runs.run(defence.tests, f"{name}-removed")
        has_failed = run.all_failed(count, defence.reason)
        title = (
            "without it, its tests FAIL as they must"
            if has_failed
            else "without it, its tests do NOT fail by the attack"
        )
        _say(defence, f"{title} ({time.monotonic() - begin:.0f} s)", run.lines())
        if not _done(defence, "can't be restored", stack.close):
            return False
    begin = time.monotonic()
    run = runs.run(defence.tests, f"{name}-restored")
    has_passed = run.all_passed(count)
    title = "with it, its tests pass" if has_passed else "with it, its tests do NOT pass"
    _say(defence, f"{title} ({time.monotonic() - begin:.0f} s)", run.lines())
    return has_failed and has_passed


def _done(defence: Defence, fault: str, act: Callable[[], object]) -> bool:
    try:
        act()
    except FAULTS as error:
        _say(defence, f"the defence {fault}", [f"{type(error).__name__}: {error}"])
        return False
    return True


def _say(defence: Defence, text: str, more: Sequence[str] = ()) -> None:
    print("\n".join([f"{defence.finding:4} {text}", *(f"       {line}" for line in more)]), flush=True)


if __name__ == "__main__":
    sys.exit(main())

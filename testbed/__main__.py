"""The commands behind the Makefile: ``python -m testbed COMMAND``."""

import argparse
import contextlib
import fcntl
import sys
from collections.abc import Iterator, Sequence

from testbed import demo, down, plan, shell, status, steps
from testbed.paths import STATE


def main(arguments: Sequence[str]) -> int:
    """Run a command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m testbed", description="Both back ends, real, on one machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="bring up the testbed, or a part of it with all that it needs")
    up.add_argument("part", nargs="?", default="all", choices=sorted(plan.PARTS))
    commands.add_parser("status", help="what is up, what is not, and why")
    commands.add_parser("down", help="remove containers, networks, mounts and processes")
    commands.add_parser("demo", help="the user guide's snippet as alice, on both gateways")
    ask = commands.add_parser("shell", help="a prompt in the notebook container")
    ask.add_argument("--as", dest="person", default="alice")
    given = parser.parse_args(arguments)
    match given.command:
        case "up":
            with _alone():
                return _up(given.part)
        case "status":
            return status.show(_print)
        case "down":
            with _alone():
                down.down(_print)
            return 0
        case "demo":
            return demo.run()
        case _:
            return shell.run(given.person)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let no two commands change the testbed at the same time; the second waits for the first."""
    STATE.parent.mkdir(parents=True, exist_ok=True)
    with STATE.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _print("Another command changes the testbed; waiting for it to end.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _up(part: str) -> int:
    wanted = plan.PARTS[part]
    try:
        steps.run(steps.select(plan.STEPS, wanted), _print)
    except KeyboardInterrupt:
        _print("\nInterrupted. Run the same command again to go on from there.")
        return 130
    except steps.StepError as failure:
        _print("")
        _print(steps.explain(failure))
        _print("\nRun the same command again to go on from there; `make testbed-status` shows what is up.")
        return 1
    if part not in ("toolchain", "load-programs"):
        _print("")
        _print(status.summary(part))
    return 0


def _print(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The commands behind the Makefile: ``python -m testbed COMMAND``."""

import argparse
import contextlib
import fcntl
import sys
from collections.abc import Iterator, Sequence

from testbed import demo, down, plan, shell, status, steps
from testbed.paths import STATE
from testbed.public_names import hosts_lines


def main(arguments: Sequence[str]) -> int:
    """Run a command; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m testbed", description="Run both back ends on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="bring up the testbed, or one part with everything that it needs")
    up.add_argument("part", nargs="?", default="all", choices=sorted(plan.PARTS))
    commands.add_parser("status", help="show which parts are up, and why the others are down")
    commands.add_parser("down", help="remove containers, networks, mounts and processes")
    commands.add_parser("demo", help="run the user guide's snippets as alice on the gateways that are up")
    commands.add_parser("hosts", help="print lines for /etc/hosts, by which a browser on this machine opens dashboards")
    ask = commands.add_parser("shell", help="open a shell in the notebook container")
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
        case "hosts":
            _print("\n".join(hosts_lines()))
            return 0
        case _:
            return shell.run(given.person)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hold a lock, so that only one command at a time changes the testbed; the second one waits."""
    STATE.parent.mkdir(parents=True, exist_ok=True)
    with STATE.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _print("Another command is changing the testbed; waiting until it has ended.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _up(part: str) -> int:
    wanted = plan.PARTS[part]
    try:
        steps.run(steps.select(plan.STEPS, wanted), _print)
    except KeyboardInterrupt:
        _print("\nInterrupted. Run the same command again: it goes on from there.")
        return 130
    except steps.StepError as failure:
        _print("")
        _print(steps.explain(failure))
        _print("\nRun the same command again: it goes on from there. `make testbed-status` shows which parts are up.")
        return 1
    if part not in ("toolchain", "load-programs"):
        _print("")
        _print(status.summary(part))
    return 0


def _print(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

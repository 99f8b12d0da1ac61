"""The two halves of ``make bench``: ``python -m testbed.bench commands|gateways``. Both print Markdown tables."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence

from release import process
from testbed.bench import commands, figures, gateways, sides
from testbed.paths import STATE

REPETITIONS = 10
ERRORS_SHOWN = 3
"""Errors of a side in a measure that are printed; the file has all."""
RESULTS = STATE / "bench.json"


def main(arguments: Sequence[str]) -> int:
    """Measure and print the tables; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m testbed.bench", description=__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    own = what.add_parser(
        "commands", help="time the testbed's own commands; this takes the testbed down and brings it up again"
    )
    own.add_argument("--cold", action="store_true", help="start without caches and images (about 40 minutes each)")
    both = what.add_parser("gateways", help="time ours beside stock; the testbed must be up and otherwise unused")
    both.add_argument("--repetitions", type=int, default=REPETITIONS)
    known = [measure.name for measure in gateways.MEASURES]
    both.add_argument("--only", nargs="+", choices=known, default=known, metavar="MEASURE", help=", ".join(known))
    given = parser.parse_args(arguments)
    _print(_machine(), "")
    if given.what == "commands":
        for row in commands.rows(is_cold=given.cold):
            _print(row)
        return 0
    return _gateways(given.only, given.repetitions)


def _gateways(names: Sequence[str], repetitions: int) -> int:
    """Measure the gateways; return 1 when a measure of ours failed, else 0."""
    process.log_file.set(sys.stderr)
    results: list[figures.Result] = []
    _print(f"{repetitions} repetitions, ours and stock in turns", "", *figures.HEADER)
    try:
        for result in gateways.measured(names, repetitions):
            results.append(result)
            _print(figures.row(result))
    finally:
        written = {
            "machine": _machine(),
            "repetitions": repetitions,
            "results": [result.as_json() for result in results],
        }
        RESULTS.write_text(json.dumps(written, indent=1) + "\n")
    _print("", f"All values: {RESULTS}")
    for result in results:
        for side, texts in result.errors.items():
            _print(*(f"{result.title}, {side}: {text}" for text in sorted(set(texts))[:ERRORS_SHOWN]))
    return int(any(result.errors.get(sides.OURS) for result in results))


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.freedesktop_os_release()['PRETTY_NAME']}"


def _print(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

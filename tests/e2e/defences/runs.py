"""Run end-to-end tests in a pytest of their own, and read from its report how each ended."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from release.paths import ROOT
from tests.e2e.defences.removal import SAVED

RUN_SECONDS = 1200
ASSERTION = r"assert |AssertionError(?!: no answer from)|Failed: DID NOT RAISE"
"""Beginning of the message of a test whose own assertion failed. A kernel without an answer is another fault."""
MOST_MESSAGE = 300


@dataclass(frozen=True)
class Outcome:
    """How one test ended."""

    test: str
    kind: str
    """``passed``, ``failure`` (in the test), ``error`` (in a fixture) or ``skipped``."""
    message: str = ""

    def failed_by(self, reason: str) -> bool:
        """Return whether the test itself failed with a message that begins as the pattern says."""
        return self.kind == "failure" and re.match(reason, self.message) is not None

    def __str__(self) -> str:
        return f"{self.test}: {self.kind}" + (f": {self.message}" if self.message else "")


@dataclass(frozen=True)
class Run:
    """The outcomes of one run of pytest, and the file with its output."""

    outcomes: tuple[Outcome, ...]
    log: Path

    def all_passed(self, count: int) -> bool:
        """Return whether so many tests ran, and all passed."""
        return len(self.outcomes) == count and all(outcome.kind == "passed" for outcome in self.outcomes)

    def all_failed(self, count: int, reason: str) -> bool:
        """Return whether so many tests ran, and each failed by the reason."""
        return len(self.outcomes) == count and all(outcome.failed_by(reason) for outcome in self.outcomes)

    def lines(self) -> list[str]:
        """Return a line for each test, and one with the place of the output."""
        return [*map(str, self.outcomes or ["pytest ran no test"]), f"pytest's output: {self.log}"]


def run(tests: Sequence[str], name: str) -> Run:
    """Run tests by their ids; ``name`` names the files of this run."""
    SAVED.mkdir(parents=True, exist_ok=True)
    report, log = SAVED / f"{name}.xml", SAVED / f"{name}.log"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junit-xml={report}", *tests]
    with log.open("w") as stream:
        try:
            subprocess.run(
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                timeout=RUN_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            stream.write(f"\nended after {RUN_SECONDS} s\n")
    return Run(outcomes(report.read_text()) if report.exists() else (), log)


def outcomes(report: str) -> tuple[Outcome, ...]:
    """Return the outcomes in a JUnit report of pytest. An error of a fixture counts, also beside a failure."""
    found: dict[str, Outcome] = {}
    for case in ElementTree.fromstring(report).iter("testcase"):
        test = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        # pytest reports an error of a fixture's end as a second case.
        for element in case:
            if element.tag in ("failure", "error", "skipped") and (test not in found or element.tag == "error"):
                message = " ".join((element.get("message") or "").split())[:MOST_MESSAGE]
                found[test] = Outcome(test, element.tag, message)
        found.setdefault(test, Outcome(test, "passed"))
    return tuple(found.values())

"""Run steps that depend on each other, several at a time, each with a log of its own.

Each step brings its part into the wanted state and returns quickly when the part is there already. After a failure or
an interrupt, another run therefore goes on where the last one stopped.
"""

import concurrent.futures
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from release import process
from testbed.paths import LOGS

REPORT_SECONDS = 60


@dataclass(frozen=True)
class Step:
    """A part of the testbed."""

    name: str
    """Lower case with dashes; it names the log too."""
    run: Callable[[], object]
    """Brings the part into the wanted state."""
    needs: tuple[str, ...] = ()
    """Names of the steps that must have ended before."""

    @property
    def log(self) -> Path:
        """File with the output of this step."""
        return LOGS / f"{self.name}.log"


class StepError(Exception):
    """A step that could not bring its part into the wanted state."""

    def __init__(self, step: Step, error: BaseException) -> None:
        self.step, self.error = step, error
        super().__init__(f"{step.name} failed: {error}")


def select(steps: Sequence[Step], wanted: Iterable[str]) -> list[Step]:
    """Return the wanted steps and everything that they need, in the given order.

    Raises ``KeyError`` for an unknown name.
    """
    by_name = {step.name: step for step in steps}
    chosen: set[str] = set()
    waiting = deque(wanted)
    while waiting:
        step = by_name[waiting.popleft()]
        if step.name not in chosen:
            chosen.add(step.name)
            waiting.extend(step.needs)
    return [step for step in steps if step.name in chosen]


def run(steps: Sequence[Step], report: Callable[[str], None], at_once: int = 4) -> None:
    """Run all steps, each after those that it needs, up to ``at_once`` at a time.

    ``report`` gets a line when a step ends, and one a minute for a step that runs longer. After a failure no further
    step starts. Raises the first :class:`StepError` once the running steps have ended.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    _Run(list(steps), report).all(at_once)


class _Run:
    """State of one run of steps."""

    def __init__(self, waiting: list[Step], report: Callable[[str], None]) -> None:
        self.waiting, self.report = waiting, report
        self.done: set[str] = set()
        self.running: dict[concurrent.futures.Future[float], Step] = {}
        self.failure: StepError | None = None
        self.started = time.monotonic()
        self.width = max(len(step.name) for step in waiting)

    def all(self, at_once: int) -> None:
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            while self.running or (self.waiting and self.failure is None):
                if self.failure is None:
                    self._start(pool, at_once)
                self._wait()
        if self.failure is not None:
            raise self.failure

    def _start(self, pool: concurrent.futures.Executor, at_once: int) -> None:
        ready = [step for step in self.waiting if self.done.issuperset(step.needs)]
        if not ready and not self.running:
            raise ValueError(f"steps wait for each other: {', '.join(step.name for step in self.waiting)}")
        for step in ready[: at_once - len(self.running)]:
            self.waiting.remove(step)
            self.running[pool.submit(_run_one, step)] = step

    def _wait(self) -> None:
        first = concurrent.futures.FIRST_COMPLETED
        finished, still = concurrent.futures.wait(self.running, timeout=REPORT_SECONDS, return_when=first)
        for future in finished:
            self._finish(self.running.pop(future), future)
        for future in () if finished else still:
            self._line(self.running[future], "still running")

    def _finish(self, step: Step, future: concurrent.futures.Future[float]) -> None:
        error = future.exception()
        if error is None:
            self.done.add(step.name)
            self._line(step, f"done in {future.result():.0f} s")
        else:
            self._line(step, "FAILED")
            self.failure = self.failure or StepError(step, error)

    def _line(self, step: Step, text: str) -> None:
        self.report(f"{time.monotonic() - self.started:6.0f} s  {step.name:<{self.width}}  {text}")


def _run_one(step: Step) -> float:
    started = time.monotonic()
    with step.log.open("w") as stream:
        token = process.log_file.set(stream)
        try:
            step.run()
        except Exception as error:
            process.say(f"error: {error}")
            raise
        finally:
            process.log_file.reset(token)
    return time.monotonic() - started


def explain(failure: StepError, lines: int = 20) -> str:
    """Return what a person needs to go on: the step, its error, its log's path and last lines."""
    tail = failure.step.log.read_text(errors="replace").splitlines()[-lines:]
    error = failure.error
    reason = (
        f"{error.cmd} took longer than {error.timeout} s" if isinstance(error, subprocess.TimeoutExpired) else error
    )
    return "\n".join(
        [f"{failure.step.name} failed: {reason}", f"log: {failure.step.log}", *(f"  | {text}" for text in tail)]
    )

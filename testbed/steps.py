"""Run steps that need each other, several at once, each with its own log; a later run goes on where this one stopped.

Every step brings its part into the wanted state and is quick when it is there already, so "going on" is running again.
"""

import concurrent.futures
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed import process
from testbed.paths import LOGS


@dataclass(frozen=True)
class Step:
    """A part of the testbed."""

    name: str
    """Lower case with dashes; also the name of its log."""
    run: Callable[[], object]
    """Brings the part into the wanted state."""
    needs: tuple[str, ...] = ()
    """Names of the steps that must be done before."""

    @property
    def log(self) -> Path:
        """Where the output of this step goes."""
        return LOGS / f"{self.name}.log"


class StepFailed(Exception):
    """A step that could not bring its part into the wanted state."""

    def __init__(self, step: Step, error: BaseException) -> None:
        self.step, self.error = step, error
        super().__init__(f"{step.name} failed: {error}")


def select(steps: Sequence[Step], wanted: Iterable[str]) -> list[Step]:
    """The wanted steps and all that they need, in the given order. Raises ``KeyError`` for an unknown name."""
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
    """Run all steps, each after those that it needs, up to ``at_once`` side by side.

    ``report`` gets a line when a step ends, and one a minute for steps that run longer. After a failure no further step
    starts; raises the first :class:`StepFailed` when those that run have ended.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    width = max(len(step.name) for step in steps)
    waiting, done, running = list(steps), set[str](), dict[concurrent.futures.Future[float], Step]()
    failure: StepFailed | None = None

    def line(step: Step, text: str) -> None:
        report(f"{time.monotonic() - started:6.0f} s  {step.name:<{width}}  {text}")

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        while running or (waiting and failure is None):
            if failure is None:
                for step in list(_ready(waiting, done))[: at_once - len(running)]:
                    waiting.remove(step)
                    running[pool.submit(_run_one, step)] = step
            if not running:
                raise ValueError(f"steps wait for each other: {', '.join(step.name for step in waiting)}")
            finished, still = concurrent.futures.wait(
                running, timeout=60, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for future in finished:
                step = running.pop(future)
                error = future.exception()
                if error is None:
                    done.add(step.name)
                    line(step, f"done in {future.result():.0f} s")
                else:
                    line(step, "FAILED")
                    failure = failure or StepFailed(step, error)
            if not finished:
                for future in still:
                    line(running[future], "still at work")
    if failure is not None:
        raise failure


def _ready(waiting: Iterable[Step], done: set[str]) -> Iterator[Step]:
    return (step for step in waiting if done.issuperset(step.needs))



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


def explain(failure: StepFailed, lines: int = 20) -> str:
    """What a person needs to go on: the step, its error, its log's place and last lines."""
    tail = failure.step.log.read_text(errors="replace").splitlines()[-lines:]
    error = failure.error
    reason = f"{error.cmd} took longer than {error.timeout} s" if isinstance(error, subprocess.TimeoutExpired) else error
    return "\n".join(
        [f"{failure.step.name} failed: {reason}", f"log: {failure.step.log}", *(f"  | {text}" for text in tail)]
    )

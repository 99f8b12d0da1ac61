"""A nanny's first worker is the spare interpreter, and every later process is spawned."""

import distributed
import pytest

from gateway.as_user import preflight, spare
from tests.unit.as_user.programs import PROGRAM, copied

NANNY = """
import json, multiprocessing, os, sys

def tell(who, others):
    place = os.environ["RECORD"]
    seen = json.load(open(place))["seen"] if os.path.exists(place) else []
    imported = sys.modules["__main__"].__dict__.get("PROGRAMS") is not None
    json.dump({"seen": [*seen, f"{who} {imported}"]}, open(place, "w"))
    if others:
        process = multiprocessing.get_context("spawn").Process(target=tell, args=(others[0], others[1:]))
        process.start()
        process.join()

def main(arguments, prog_name):
    tell("nanny", ["worker", "task"])
"""


def test_a_nannys_worker_imports_quickly_and_what_tasks_start_does_not(start, worker_program, place):
    """With real multiprocessing: each process records whether the preflight runs as its main module."""
    worker_program(NANNY)
    assert start("worker", str(place))["seen"] == ["nanny True", "worker True", "task False"]


FIRST_AND_SECOND = """
import json, multiprocessing, os

def tell(who):
    names = ("MALLOC_TRIM_THRESHOLD_", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONHASHSEED")
    said = [f"{who}: {name} is {os.environ[name]}" for name in names if name in os.environ]
    how = "spawned" if "multiprocessing-fork" in open("/proc/self/cmdline").read() else "was ready"
    place = os.environ["RECORD"]
    told = json.load(open(place)) if os.path.exists(place) else []
    json.dump([*told, [who, how, *said]], open(place, "w"))

def main(arguments, prog_name):
    tell("nanny")
    os.environ.update(%s)
    for who in ("first", "second"):
        process = multiprocessing.get_context("spawn").Process(target=tell, args=(who,))
        process.start()
        process.join()
"""


@pytest.mark.parametrize(
    ("configured", "first"),
    [
        ({"OMP_NUM_THREADS": "1"}, "was ready"),
        ({"MALLOC_TRIM_THRESHOLD_": "65536", "PYTHONHASHSEED": "6640"}, "was ready"),
        ({"MALLOC_TRIM_THRESHOLD_": "0"}, "spawned"),
        ({"OMP_NUM_THREADS": "4"}, "spawned"),
    ],
)
def test_the_first_worker_of_a_nanny_is_ready_unless_something_else_is_configured(
    start, worker_program, configured, first
):
    """A nanny sets its configuration in its own variables, in which it finds none of the preflight's."""
    worker_program(FIRST_AND_SECOND % configured)
    set_now = [f"{name} is {value}" for name, value in configured.items() if name in preflight.WORKER_START]
    assert start("worker") == [
        ["nanny", "was ready"],
        ["first", first, *(f"first: {text}" for text in set_now)],
        ["second", "spawned", *(f"second: {text}" for text in set_now)],
    ]


def test_a_worker_leaves_nothing_beside_the_program(start, worker_program, place):
    """The cluster folder may be about to be deleted."""
    worker_program(FIRST_AND_SECOND % {})
    program = copied(place / "program")
    assert len(start("worker", program=program)) == 3
    assert {path.name for path in program.parent.iterdir()} == {PROGRAM.name, *preflight.COMPANIONS}


@pytest.mark.parametrize("name", preflight.WORKER_START)
def test_what_a_user_sets_for_workers_counts(start, worker_program, name):
    worker_program(FIRST_AND_SECOND % {})
    nanny, first, _ = start("worker", variables={name: "7"})
    assert nanny == ["nanny", "was ready", f"nanny: {name} is 7"]
    assert first == ["first", "was ready", f"first: {name} is 7"]


async def test_workers_are_started_with_what_a_nanny_sets():
    set_by_nanny = distributed.Nanny("tcp://127.0.0.1:1").pre_spawn_env
    read_at_start = {name: value for name, value in set_by_nanny.items() if name.startswith(spare.READ_AT_START)}
    assert read_at_start == preflight.WORKER_START

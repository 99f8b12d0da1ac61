import json
import subprocess
import sys

import pytest

from gateway.request import environment_variables
from tests.unit import fake_environments
from tests.unit.as_user.programs import HOSTILE, PROGRAM, SYSTEM


@pytest.fixture
def place(tmp_path):
    return tmp_path.resolve()


@pytest.fixture(scope="session")
def complete(tmp_path_factory):
    """An environment with all modules that the preflight imports."""
    return fake_environments.complete(tmp_path_factory.mktemp("complete").resolve() / "environment")


@pytest.fixture
def start(place, complete):
    """Start the program; return what the fake Dask recorded of its start, or the ended process after a refusal."""

    def run(role, *arguments, variables=HOSTILE, machine=SYSTEM, program=PROGRAM, **changed):
        record = place / "record"
        (place / "variables").write_bytes(environment_variables.encoded({**variables, "RECORD": str(record)}))
        plan = fake_environments.plan(complete, complete, variables=str(place / "variables"))._replace(**changed)
        ended = subprocess.run(
            [sys.executable, "-IS", str(program), "start", plan.encoded(), role, *arguments],
            env=machine,
            capture_output=True,
            check=False,
        )
        return json.loads(record.read_text()) if ended.returncode == 0 else ended

    return run


@pytest.fixture
def worker_program(complete):
    """Replace the environment's program of workers during a test."""
    path = fake_environments.packages(complete) / "distributed" / "cli" / "dask_worker.py"
    own = path.read_text()
    yield path.write_text
    path.write_text(own)

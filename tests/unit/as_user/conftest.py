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
    """An environment with all that is needed."""
    return fake_environments.complete(tmp_path_factory.mktemp("complete").resolve() / "environment")


@pytest.fixture
def start(place, complete):
    """What the fake Dask says of how it was started, or the ended process where it was not."""

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
    """Gives the environment another program of workers, for the test."""
    path = fake_environments.packages(complete) / "distributed" / "cli" / "dask_worker.py"
    own = path.read_text()
    yield path.write_text
    path.write_text(own)

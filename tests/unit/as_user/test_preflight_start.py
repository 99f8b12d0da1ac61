"""A start of the preflight: it becomes a scheduler or a worker, with the user's variables, arguments and home."""

import os
from pathlib import Path

import pytest

from gateway.as_user import preflight
from gateway.as_user.preflight import REFUSED
from tests.unit import fake_environments
from tests.unit.as_user.programs import HOSTILE, PROGRAM, SYSTEM, copied


@pytest.mark.weakness(33)
@pytest.mark.parametrize("role", ["scheduler", "worker"])
def test_values_arrive_byte_for_byte(start, role):
    arrived = {bytes.fromhex(name): bytes.fromhex(value) for name, value in start(role)["environ"].items()}
    assert {os.fsencode(name): os.fsencode(value) for name, value in HOSTILE.items()}.items() <= arrived.items()


@pytest.mark.parametrize("role", ["scheduler", "worker"])
def test_dask_gets_its_role_and_arguments(start, role, complete):
    arguments = ["tls://10.0.0.1:8786", "--name", "a b", "$(id)", "--host", ""]
    started = start(role, *arguments)
    assert started["argv"] == [role, *arguments]
    assert started["name"] == f"dask {role}"
    assert started["collects"]
    assert started["path"][0] == f"{complete}/bin"
    assert str(PROGRAM.parent) not in started["path"]


def variable(started, name):
    value = started["environ"].get(name.encode().hex())
    return None if value is None else bytes.fromhex(value).decode()


@pytest.mark.weakness(34)
def test_the_users_variables_come_on_top_of_the_machines(start):
    machine = {**SYSTEM, "PYTHONWARNINGS": "ignore", "MACHINE": "1", "HOME": "/scratch"}
    started = start("worker", variables={"PYTHONWARNINGS": "default"}, machine=machine)
    assert variable(started, "PYTHONWARNINGS") == "default"
    assert (variable(started, "MACHINE"), variable(started, "HOME")) == ("1", "/scratch")


@pytest.mark.weakness(33)
def test_home_is_a_new_directory_for_the_user_alone_while_the_job_lasts(start, place):
    seen = []
    for _ in range(2):
        started = start("worker", variables={"TMPDIR": "/nowhere"}, machine=machine_with(place), scratch="dask-1")
        assert variable(started, "HOME") == variable(started, "DASK_TEMPORARY_DIRECTORY")
        assert started["home_mode"] == 0o700
        seen.append(variable(started, "HOME"))
    assert len({place / "tmp", *(Path(home).parent for home in seen)}) == 1
    assert len(set(seen)) == 2
    assert all(Path(home).name.startswith("dask-1-") for home in seen)
    assert list((place / "tmp").iterdir()) == []


def test_a_users_own_place_for_temporary_files_is_taken(start, place):
    chosen = {"DASK_TEMPORARY_DIRECTORY": "/x"}
    started = start("worker", variables=chosen, machine=machine_with(place), scratch="dask-1")
    assert variable(started, "DASK_TEMPORARY_DIRECTORY") == "/x"


def test_a_home_that_can_not_be_made_is_refused(start, place):
    ended = start("worker", machine=machine_with(place), scratch="absent/dask-1")
    assert ended.returncode == REFUSED
    assert b"can't be made on" in ended.stderr
    assert b"No such file or directory" in ended.stderr


def test_a_refused_start_leaves_no_home(start, place):
    ended = start("worker", machine=machine_with(place), scratch="dask-1", markers=[str(place / "absent")])
    assert ended.returncode == REFUSED
    assert list((place / "tmp").iterdir()) == []


def machine_with(place):
    """Variables of a job whose TMPDIR is a directory."""
    (place / "tmp").mkdir(exist_ok=True)
    return {**SYSTEM, "TMPDIR": str(place / "tmp")}


def test_a_scheduler_makes_all_checks(start, place):
    report = place / "report"
    absent = str(place / "absent")
    ended = start("scheduler", report=str(report), path=absent, prefix=absent, visible=[str(place)])
    assert ended.returncode == REFUSED
    assert report.read_bytes() == ended.stderr
    assert report.read_text().startswith(f"conda_env='{place}/absent' is not there")


@pytest.mark.parametrize("role", ["scheduler", "worker"])
def test_every_start_checks_that_storage_is_mounted(start, place, role):
    ended = start(role, markers=[str(place / "absent")])
    assert ended.returncode == REFUSED
    assert b"is not mounted" in ended.stderr


def test_a_scheduler_says_what_its_environment_lacks(start, place):
    conda = fake_environments.environment(place / "conda")
    report = place / "report"
    ended = start("scheduler", report=str(report), path=str(conda), prefix=str(conda), visible=[str(place)])
    assert ended.returncode == REFUSED
    assert report.read_text().startswith(f"The environment {conda} lacks dask. Add it: conda install")


def test_a_scheduler_starts_without_what_only_clients_use(start, complete):
    packages = fake_environments.packages(complete)
    (packages / "aiohttp.py").write_text("raise RuntimeError('executed')")
    (packages / "dask_gateway" / "__init__.py").write_text("import aiohttp")
    assert start("scheduler")["argv"] == ["scheduler"]


def test_a_worker_whose_environment_is_gone_says_so(start, place):
    ended = start("worker", prefix=str(place / "absent"))
    assert ended.returncode == REFUSED
    assert ended.stderr.decode() == f"{place}/absent/bin/python can't be run: No such file or directory."


def test_nothing_beside_the_program_is_imported(start, place):
    program = copied(place / "program")
    for module in preflight.MODULES:
        program.with_name(f"{module}.py").write_text("raise RuntimeError('beside the program')")
    assert start("scheduler", program=program)["argv"] == ["scheduler"]

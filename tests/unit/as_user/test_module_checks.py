"""The preflight's imports of Dask, in the environment's own interpreter."""

import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.as_user import preflight
from gateway.as_user.preflight import REFUSED, RefusedError
from tests.unit import fake_environments
from tests.unit.as_user.programs import PROGRAM, SYSTEM


def imports(plan):
    return subprocess.run(
        [plan.python, str(PROGRAM), "imports", plan.encoded()], env=SYSTEM, capture_output=True, text=True, check=False
    )


def with_modules(place, **modules):
    return fake_environments.plan(place, fake_environments.environment(place / "conda", **modules))


def test_a_complete_environment_imports(place, complete):
    ended = imports(fake_environments.plan(complete, complete))
    assert (ended.returncode, ended.stdout) == (0, "")


@pytest.mark.weakness(27)
@pytest.mark.parametrize("present", [(), ("dask",), ("dask", "distributed")])
def test_a_conda_environment_without_a_module(place, present):
    ended = imports(with_modules(place, **dict.fromkeys(present, "")))
    lacking = preflight.MODULES[len(present)]
    assert ended.returncode == REFUSED == 78
    assert ended.stdout == (
        f"The environment {place}/conda lacks {lacking}."
        f" Add it: conda install --prefix {place}/conda --channel conda-forge dask-gateway"
    )


@pytest.mark.parametrize(("name", "feature"), [("default", ""), ("my-env", " --feature my-env")])
def test_a_pixi_environment_without_a_module(place, name, feature):
    plan = fake_environments.plan(place, place / "project", name)
    fake_environments.environment(Path(plan.prefix))
    ended = imports(plan)
    assert ended.returncode == REFUSED
    assert ended.stdout.endswith(f"lacks dask. Add it: pixi add --manifest-path {place}/project{feature} dask-gateway")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("raise RuntimeError('no\\n  device')", "RuntimeError: no device"),
        ("import absent_module", "ModuleNotFoundError: No module named 'absent_module'"),
        ("raise SyntaxError('bad')", "SyntaxError: bad"),
    ],
)
def test_a_module_that_fails(place, content, said):
    ended = imports(with_modules(place, dask="", distributed=content))
    assert ended.returncode == REFUSED
    assert ended.stdout == f"distributed can't be imported in {place}/conda: {said}"


def test_imports_are_of_the_environment_and_of_nothing_beside_the_program(place, complete):
    program = shutil.copy(PROGRAM, place / "preflight.py")
    (place / "distributed.py").write_text("raise RuntimeError('beside the program')")
    preflight.check_imports(fake_environments.plan(complete, complete), SYSTEM, str(program))


def test_refusals_of_imports_are_handed_on(place):
    plan = with_modules(place)
    with pytest.raises(RefusedError, match=r"lacks dask\. Add it: conda install"):
        preflight.check_imports(plan, SYSTEM, str(PROGRAM))


def test_imports_that_kill_the_interpreter(place):
    plan = with_modules(place, dask="import os, sys; print('fatal error: broken', file=sys.stderr); os._exit(3)")
    with pytest.raises(RefusedError, match=r"conda does not import Dask: fatal error: broken"):
        preflight.check_imports(plan, SYSTEM, str(PROGRAM))


def test_imports_that_hang(place, monkeypatch):
    monkeypatch.setattr(preflight, "IMPORT_SECONDS", 0.5)
    with pytest.raises(RefusedError, match=r"did not import Dask within 0.5 s"):
        preflight.check_imports(with_modules(place, dask="import time; time.sleep(60)"), SYSTEM, str(PROGRAM))

"""The preflight's imports of Dask, in the environment's own interpreter."""

import subprocess
from pathlib import Path

import pytest

from gateway.as_user import preflight
from gateway.as_user.preflight import REFUSED
from tests.unit import fake_environments
from tests.unit.as_user.programs import PROGRAM, SYSTEM


def imports(plan):
    plan = plan._replace(report=f"{plan.visible[0]}/report")
    return subprocess.run(
        [plan.python, str(PROGRAM), "serve", plan.encoded(), "scheduler"],
        env={**SYSTEM, "RECORD": f"{plan.visible[0]}/record"},
        capture_output=True,
        text=True,
        check=False,
    )


def with_modules(place, **modules):
    return fake_environments.plan(place, fake_environments.environment(place / "conda", **modules))


def test_a_complete_environment_imports(place, complete):
    ended = imports(fake_environments.plan(complete, complete))
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.weakness(27)
@pytest.mark.parametrize("present", [(), ("dask",), ("dask", "distributed")])
def test_a_conda_environment_without_a_module(place, present):
    ended = imports(with_modules(place, **dict.fromkeys(present, "")))
    lacking = preflight.MODULES[len(present)]
    assert ended.returncode == REFUSED == 78
    assert ended.stderr == (
        f"The environment {place}/conda lacks {lacking}."
        f" Add it: conda install --prefix {place}/conda --channel conda-forge dask-gateway"
    )


@pytest.mark.parametrize(("name", "feature"), [("default", ""), ("my-env", " --feature my-env")])
def test_a_pixi_environment_without_a_module(place, name, feature):
    plan = fake_environments.plan(place, place / "project", name)
    fake_environments.environment(Path(plan.prefix))
    ended = imports(plan)
    assert ended.returncode == REFUSED
    assert ended.stderr.endswith(f"lacks dask. Add it: pixi add --manifest-path {place}/project{feature} dask-gateway")


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
    assert ended.stderr == f"distributed can't be imported in {place}/conda: {said}"

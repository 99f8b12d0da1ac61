"""Requests that can't be granted are refused with a text that says what to do, and leave nothing behind."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from gateway.site import Backend
from testbed.waiting import until
from tests.e2e import notebooks
from tests.e2e.administration import Administrator
from tests.e2e.back_ends import on_kubernetes
from tests.e2e.machines import SETTINGS
from tests.e2e.notebooks import CellError, Notebook

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

PROJECT = notebooks.PIXI_PROJECT
OWN = "/depot/cms/users/alice"
RECORDS = "sorted(report.name for report in gateway.list_clusters(status=[status.name for status in ClusterStatus]))"
BOTH = list(Backend)
Options = dict[str, object] | str
Cases = Iterator[tuple[list[Backend], Options, str]]


@pytest.fixture(scope="module")
def kernel(backend: Backend, no_leftovers: None) -> Iterator[Notebook]:
    """Return alice's notebook, with environments in her own directory that can't be used."""
    with notebooks.connected("alice", backend) as opened:
        opened.run("from dask_gateway import GatewayCluster\nfrom dask_gateway.client import ClusterStatus")
        opened.run(BAD_ENVIRONMENTS)
        yield opened
        opened.run("clean()")


BAD_ENVIRONMENTS = f"""
import os, shutil, subprocess
bad = {OWN!r} + "/bad"

def clean():
    if os.path.exists(f"{{bad}}/closed"):
        os.chmod(f"{{bad}}/closed", 0o700)
    if os.path.exists(bad):
        shutil.rmtree(bad)

clean()

def project(name, environment="default"):
    prefix = f"{{bad}}/{{name}}/.pixi/envs/{{environment}}"
    os.makedirs(f"{{prefix}}/bin")
    open(f"{{bad}}/{{name}}/pixi.toml", "w").close()
    return prefix

def python(prefix, text, mode=0o755):
    with open(f"{{prefix}}/bin/python", "w") as stream:
        stream.write(text)
    os.chmod(f"{{prefix}}/bin/python", mode)

python(project("broken"), "#!/bin/sh\\necho 'error while loading shared libraries: libx.so' >&2\\nexit 127\\n")
python(project("not-executable"), "#!/bin/sh\\n", mode=0o644)
python(project("no-such-interpreter"), "#!/no/such/interpreter\\n")
for prefix in (project("empty"), project("named", "my-env"), f"{{bad}}/conda"):
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", prefix], check=True)
packages = "lib/python3.11/site-packages"
faults = {{"raises": "raise RuntimeError('compiled for another machine')", "needs": "import dask_nowhere"}}
for name, text in faults.items():
    prefix = project(name)
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", prefix], check=True)
    os.mkdir(f"{{prefix}}/{{packages}}/dask")
    with open(f"{{prefix}}/{{packages}}/dask/__init__.py", "w") as stream:
        stream.write(text)
os.symlink("/work/projects/analysis", f"{{bad}}/to-work")
os.symlink("/usr", f"{{bad}}/to-usr")
os.makedirs(f"{{bad}}/linked/.pixi/envs")
open(f"{{bad}}/linked/pixi.toml", "w").close()
os.symlink("/usr", f"{{bad}}/linked/.pixi/envs/default")
os.mkdir(f"{{bad}}/closed", 0o000)
"""


@pytest.fixture
def nothing_left(kernel: Notebook, administrator: Administrator) -> Iterator[None]:
    """Check that the test has left no objects and no records of clusters.

    Each replica of the API watches Kubernetes by itself, so that the list of one can be late by a moment.
    """
    before, records = administrator.all_objects(), kernel.run(RECORDS)
    yield
    until("the records are those of before the test", lambda: kernel.run(RECORDS) == records, seconds=10)
    until("nothing is left of the refused request", lambda: administrator.all_objects() <= before, seconds=30)


def refusal(kernel: Notebook, options: Options) -> str:
    with pytest.raises(CellError) as caught:
        kernel.run(notebooks.new_cluster(options))
    assert caught.value.name == "ValueError"
    return caught.value.message


@dataclass(frozen=True, eq=False)
class Case:
    """A request that is refused. Cases compare by identity, so that pytest groups tests by back end alone."""

    options: Options
    parts: str
    """Parts of the refusal's text, separated by ``|``."""


def at_once() -> Cases:
    """Yield back ends, options and parts of the text, for refusals that need no process of the user."""
    for name in ("worker_cores", "worker_memory"):
        for value in (True, "4", None, [1], -1, 0, 1e9, 10**400):
            shown = repr(value) if value != 10**400 else "1000"
            yield BOTH, {"pixi_project": PROJECT, name: value}, f"{name} must be|got {shown}"
        for value in (math.nan, math.inf, -math.inf):
            yield (
                BOTH,
                f"pixi_project={PROJECT!r}, {name}=float('{value}')",
                f"{name} must be a finite number, got {value}",
            )
    yield [Backend.SLURM], {"pixi_project": PROJECT, "worker_cores": 0.5}, "must be a whole number of cores, got 0.5"
    yield (
        BOTH,
        {"pixi_project": PROJECT, "worker_core": 1},
        "unknown option 'worker_core'; known options are pixi_project",
    )
    yield BOTH, {"pixi_project": 5}, "pixi_project must be text, got 5"
    yield BOTH, {"conda_env": notebooks.CONDA_ENVIRONMENT, "pixi_project": PROJECT}, "conda_env can't be used together"
    yield BOTH, {"conda_env": notebooks.CONDA_ENVIRONMENT, "pixi_env": "my-env"}, "conda_env can't be used together"
    yield BOTH, {"pixi_env": "my-env"}, "pixi_env='my-env' needs pixi_project"
    yield [Backend.SLURM], {}, "No environment given: use pixi_project=|conda_env="
    yield BOTH, {"pixi_project": PROJECT, "pixi_env": "../../evil"}, "is not a name of a Pixi environment"
    yield BOTH, {"pixi_project": "projects/analysis"}, "is not an absolute path"
    yield BOTH, {"pixi_project": "/home/alice/project"}, "not on storage that|/depot/cms"
    yield BOTH, {"pixi_project": "/depot/cms/../../etc"}, "not on storage that"
    yield [Backend.SLURM], {"pixi_project": "/work/projects/analysis"}, SLURM_SEES_NO_WORK
    for bad in (" ", "'", '"', ";", "$(id)", "`id`", "\n", "%x", "é", "\0", "&", "|", ">"):
        yield BOTH, {"conda_env": f"{OWN}/a{bad}b"}, f"contains {bad[0]!r}: use a path without it"
    yield BOTH, {"pixi_project": PROJECT, "env": {"A": 1}}, "env['A'] is of type int; values must be text"
    yield BOTH, {"pixi_project": PROJECT, "env": {"A": "a\0b"}}, "env['A'] contains a NUL character"
    yield BOTH, {"pixi_project": PROJECT, "env": ["A"]}, "env must be a dictionary"
    bound = SETTINGS.environment_variables.maximum_bytes
    too_much = {"A": "x", "BIG": "y" * bound}
    yield BOTH, {"pixi_project": PROJECT, "env": too_much}, f"at most {bound}|The largest variable is 'BIG'"
    yield BOTH, {"pixi_project": PROJECT, "env": {"LONG": "y" * 140000}}, "env['LONG'] has 140005 bytes"
    yield BOTH, {"pixi_project": PROJECT, "env": {"HUGE": "y" * 2**21}}, "too large: leave out of env"


SLURM_SEES_NO_WORK = "/work is not visible to SLURM workers; put it under /depot/cms or use Gateway()"


def by_preflight() -> Cases:
    """Yield the same for refusals of the preflight, which runs as the user."""
    bad = f"{OWN}/bad"
    yield BOTH, {"pixi_project": f"{OWN}/nowhere"}, "is not there, as|No such file or directory"
    yield BOTH, {"pixi_project": f"{PROJECT}/pixi.toml"}, "is not a directory: name the directory that contains it"
    yield BOTH, {"pixi_project": "/depot/cms/projects"}, "has no pixi.toml; name the directory that contains it"
    yield BOTH, {"pixi_project": "/depot/cms/users/bob/project"}, "is not readable for you"
    yield BOTH, {"pixi_project": f"{bad}/closed"}, "is not readable for you"
    yield (
        BOTH,
        {"pixi_project": PROJECT, "pixi_env": "other"},
        "The pixi environment 'other' is not installed in|(installed: default, my-env)"
        f"|pixi install --manifest-path {PROJECT} --environment other",
    )
    yield BOTH, {"conda_env": "/depot/cms/conda"}, "is not a Conda environment: it has no bin/python"
    yield BOTH, {"pixi_project": f"{bad}/broken"}, "does not start: error while loading shared libraries: libx.so"
    yield BOTH, {"pixi_project": f"{bad}/not-executable"}, "can't be run: Permission denied"
    yield BOTH, {"pixi_project": f"{bad}/no-such-interpreter"}, "can't be run: No such file or directory"
    yield (
        BOTH,
        {"pixi_project": f"{bad}/empty"},
        f"lacks dask. Add it: pixi add --manifest-path {bad}/empty dask-gateway",
    )
    yield (
        BOTH,
        {"pixi_project": f"{bad}/named", "pixi_env": "my-env"},
        f"pixi add --manifest-path {bad}/named --feature my-env dask-gateway",
    )
    yield BOTH, {"conda_env": f"{bad}/conda"}, f"conda install --prefix {bad}/conda --channel conda-forge dask-gateway"
    yield BOTH, {"pixi_project": f"{bad}/raises"}, "RuntimeError: compiled for another machine"
    yield BOTH, {"pixi_project": f"{bad}/needs"}, "ModuleNotFoundError: No module named 'dask_nowhere'"
    yield BOTH, {"pixi_project": f"{bad}/to-usr"}, "leads to '/usr', which is not visible to"
    yield BOTH, {"pixi_project": f"{bad}/linked"}, "leads to '/usr', which is not visible to"
    yield [Backend.SLURM], {"pixi_project": f"{bad}/to-work"}, "leads to '/work/projects/analysis'|use Gateway()"


def on_back_ends(cases: Callable[[], Cases]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("backend", "case"),
        [
            pytest.param(backend, Case(options, parts), id=f"{backend}-{number}")
            for number, (backends, options, parts) in enumerate(cases())
            for backend in backends
        ],
        indirect=["backend"],
        scope="session",
    )


@pytest.mark.weakness(22, 24, 28, 30, 31)
@on_back_ends(at_once)
def test_refused_at_once(backend: Backend, case: Case, kernel: Notebook, nothing_left: None) -> None:
    text = refusal(kernel, case.options)
    assert all(part in text for part in case.parts.split("|")), text


@pytest.mark.weakness(25, 26, 27, 28, 29)
@on_back_ends(by_preflight)
def test_refused_by_the_preflight(backend: Backend, case: Case, kernel: Notebook, nothing_left: None) -> None:
    text = refusal(kernel, case.options)
    assert all(part in text for part in case.parts.split("|")), text


@pytest.mark.weakness(29)
def test_a_users_private_environment_is_accepted(kernel: Notebook, backend: Backend) -> None:
    """A preflight that ran as another user would not see it."""
    kernel.run(f"""
os.makedirs(bad + "/private", mode=0o700)
os.symlink({PROJECT!r}, bad + "/private/project")
cluster = gateway.new_cluster(pixi_project=bad + "/private/project")
cluster.shutdown()
""")


@on_kubernetes
def test_a_request_without_environment_gets_the_sites_default(kernel: Notebook, backend: Backend) -> None:
    default = SETTINGS.gateway(backend).default_environment
    assert default is not None
    kernel.run("cluster = gateway.new_cluster()")
    prefix = kernel.run("import sys\nclient = cluster.get_client()\nclient.run_on_scheduler(lambda: sys.prefix)")
    kernel.run("client.close()\ncluster.shutdown()")
    assert prefix == f"{default.pixi_project}/.pixi/envs/{default.pixi_env}"


def test_the_widget_labels_each_option(kernel: Notebook) -> None:
    labels = kernel.run("{name: field.label for name, field in gateway.cluster_options()._fields.items()}")
    assert labels == {
        "pixi_project": "Pixi project (directory with pixi.toml)",
        "pixi_env": "Pixi environment",
        "conda_env": "Conda environment (directory), instead of a Pixi project",
        "worker_cores": "Cores per worker",
        "worker_memory": "Memory per worker (GB)",
        "env": "Environment variables",
    }

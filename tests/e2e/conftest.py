"""Fixtures of the end-to-end suite: each test that uses ``backend`` runs against both gateways of the testbed.

A test for one back end has a mark of :mod:`tests.e2e.back_ends`. After a failed test, a hook collects what
administrators see (:mod:`tests.e2e.failures`).
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from gateway.identity import accounts
from gateway.site import Backend
from release import process
from testbed import docker, hub, notebook, people
from tests.e2e import failures, notebooks
from tests.e2e.administration import ADMINISTRATORS, Administrator
from tests.e2e.fetching import fetch
from tests.e2e.machines import SETTINGS
from tests.e2e.notebooks import Notebook

ADVICE = "run `make testbed`, then `make testbed-status` tells what is up"


@pytest.fixture(scope="session")
def testbed() -> None:
    """Fail unless the notebook container runs and each person has a token: no test works without them."""
    if not docker.is_running(notebook.NAME):
        pytest.fail(f"the testbed is not up: container {notebook.NAME} does not run; {ADVICE}", pytrace=False)
    try:
        for person in people.load().people:
            notebook.environment(person.name)
    except hub.NoTokenError as error:
        pytest.fail(f"the testbed is not up: {error}", pytrace=False)


@pytest.fixture(scope="session", params=list(Backend), ids=str)
def backend(request: pytest.FixtureRequest, testbed: None) -> Backend:
    """Return a back end whose gateway answers under its public name."""
    backend = Backend(request.param)
    address = f"{SETTINGS.gateway(backend).address}/api/health"
    try:
        status, text = fetch(address)
    except process.CommandError as error:
        status, text = 0, str(error).splitlines()[-1]
    if status != 200:
        pytest.fail(f"the testbed is not up: {address} answers {status or ''} {text[:200]}; {ADVICE}", pytrace=False)
    return backend


@pytest.fixture(scope="session")
def administrator(backend: Backend) -> Administrator:
    return ADMINISTRATORS[backend]


@pytest.fixture
def open_notebook(backend: Backend, no_leftovers: None) -> Iterator[Callable[[str], Notebook]]:
    """Return a function that opens a notebook as a person, connected to the gateway, until the test ends."""
    with ExitStack() as stack:
        yield lambda person: stack.enter_context(notebooks.connected(person, backend))


@pytest.fixture(scope="session")
def alice(backend: Backend, no_leftovers: None) -> Iterator[Notebook]:
    """Return alice's notebook with a cluster of two workers that has computed, all by the user guide's snippets.

    Tests that share it leave the cluster as it is.
    """
    with notebooks.connected("alice", backend) as kernel:
        for name in ("create", "compute"):
            kernel.snippet(name)
        # The computation of the snippet has a result as soon as the first worker runs.
        kernel.run("client.wait_for_workers(2, timeout=120)", seconds=150)
        yield kernel


@pytest.fixture(scope="session")
def no_leftovers(backend: Backend) -> None:
    """Stop clusters that an interrupted run of the suite has left behind."""
    stop = "for report in gateway.list_clusters():\n    gateway.stop_cluster(report.name)"
    served = SETTINGS.gateway(backend).classes
    for person in (person.name for person in people.load().people if person.account):
        if accounts.classify(person, SETTINGS.identity.classes).name in served:
            with notebooks.connected(person, backend) as kernel:
                kernel.run(stop)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """After a failure, collect what administrators see and add the folder's path to the report."""
    report: pytest.TestReport = yield
    if report.failed and call.excinfo is not None and item.get_closest_marker("e2e") is not None:
        folder = failures.FOLDER / re.sub(r"[^A-Za-z0-9]+", "-", item.name).strip("-")
        for backend in Backend:
            if backend.value in item.name:
                failures.collect(backend, folder)
                report.sections.append((failures.TITLE, f"{folder}"))
    return report

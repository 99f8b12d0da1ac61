"""Fixtures of the end-to-end suite: each test that uses ``backend`` runs against both gateways of the testbed.

A test that chooses back ends itself parametrizes ``backend`` with ``indirect`` and ``scope="session"``: with another
scope pytest would make everything that depends on it anew for each test.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from gateway.identity import accounts
from gateway.site import Backend
from release import process
from testbed import docker, hub, notebook, people
from tests.e2e import administration
from tests.e2e.notebooks import Notebook

NEXT = "run `make testbed`, then `make testbed-status` tells what is up"


@pytest.fixture(scope="session")
def testbed() -> None:
    """The notebook container runs and everybody has a token; without them nothing here can work."""
    if not docker.is_running(notebook.NAME):
        pytest.fail(f"the testbed is not up: container {notebook.NAME} does not run; {NEXT}", pytrace=False)
    try:
        for person in people.load().people:
            notebook.environment(person.name)
    except hub.NoTokenError as error:
        pytest.fail(f"the testbed is not up: {error}", pytrace=False)


@pytest.fixture(scope="session", params=list(Backend), ids=str)
def backend(request: pytest.FixtureRequest, testbed: None) -> Backend:
    """A back end whose gateway answers under its public name."""
    backend = Backend(request.param)
    address = f"{administration.SETTINGS.gateway(backend).address}/api/health"
    try:
        status, text = administration.fetch(address)
    except process.CommandError as error:
        status, text = 0, str(error).splitlines()[-1]
    if status != 200:
        pytest.fail(f"the testbed is not up: {address} answers {status or ''} {text[:200]}; {NEXT}", pytrace=False)
    return backend


@pytest.fixture(scope="session")
def administrator(backend: Backend) -> administration.Administrator:
    return administration.ADMINISTRATORS[backend]()


@pytest.fixture
def open_notebook(backend: Backend, no_leftovers: None) -> Iterator[Callable[[str], Notebook]]:
    """Opens a notebook as a person, connected to the gateway as the user guide says; it ends with the test."""
    with ExitStack() as stack:

        def opened(person: str) -> Notebook:
            kernel = stack.enter_context(Notebook(person))
            kernel.snippet(f"connect-{backend.value}")
            return kernel

        yield opened


@pytest.fixture(scope="session")
def alice(backend: Backend, no_leftovers: None) -> Iterator[Notebook]:
    """Alice's notebook with a cluster of two workers that has computed, all of it by the user guide's snippets.

    Tests that share it only look.
    """
    with Notebook("alice") as kernel:
        for name in (f"connect-{backend.value}", "create", "compute"):
            kernel.snippet(name)
        # A computation needs only the first of them.
        kernel.run("client.wait_for_workers(2, timeout=120)", seconds=150)
        yield kernel


@pytest.fixture(scope="session")
def no_leftovers(backend: Backend) -> None:
    """Clusters that an interrupted run has left behind are gone."""
    stop = "for report in gateway.list_clusters():\n    gateway.stop_cluster(report.name)"
    served = administration.SETTINGS.gateway(backend).classes
    for person in (person.name for person in people.load().people if person.account):
        if accounts.classify(person, administration.SETTINGS.identity.classes).name not in served:
            continue
        with Notebook(person) as kernel:
            kernel.snippet(f"connect-{backend.value}")
            kernel.run(stop)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """After a failure, put what administrators see into a folder and say where it is."""
    report: pytest.TestReport = yield
    if report.failed and call.excinfo is not None and item.get_closest_marker("e2e") is not None:
        folder = administration.FAILURES / re.sub(r"[^A-Za-z0-9]+", "-", item.name).strip("-")
        for kind in administration.ADMINISTRATORS.values():
            if kind.backend.value in item.name:
                administration.collect(kind(), folder)
                report.sections.append(("What administrators saw", f"{folder}"))
    return report

import pytest
from testinfra.host import Host

from testbed import submission
from tests.ansible import hosts


@pytest.fixture(scope="session")
def made() -> None:
    """Bring up the submission host, and run the play unless the same play has run already."""
    submission.ensure_submission()


@pytest.fixture(scope="session")
def host(made: None) -> Host:
    """The submission host. Replaces testinfra's fixture of this name, which reads the host from pytest's options."""
    return hosts.by_docker()

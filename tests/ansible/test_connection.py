"""The connection that Ansible uses: SSH as root, with the testbed's key, to a host whose key is known."""

import pytest

from testbed import submission
from tests.ansible import hosts

pytestmark = pytest.mark.e2e


@pytest.mark.usefixtures("made")
def test_ssh_reaches_the_container_as_root(host) -> None:
    over_ssh = hosts.by_ssh()
    assert over_ssh.user().name == "root"
    assert over_ssh.file("/etc/machine-id").content_string == host.file("/etc/machine-id").content_string
    assert over_ssh.exists("python3"), "Ansible's modules need Python"


@pytest.mark.usefixtures("made")
def test_ssh_refuses_a_host_whose_key_is_not_known(tmp_path) -> None:
    known_hosts = tmp_path / "known_hosts"
    known_hosts.touch()
    stranger = hosts.by_ssh(submission.SSH_OPTIONS.replace(str(submission.KNOWN_HOSTS), str(known_hosts)))
    with pytest.raises(RuntimeError, match="Host key verification failed"):
        stranger.run("true")

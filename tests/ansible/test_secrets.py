"""Files on the submission host: their owners and modes."""

from pathlib import PurePosixPath

import pytest

from tests.ansible.hosts import run_as, site

pytestmark = pytest.mark.e2e

OWNERS_ALONE = [
    ("/etc/dask-gateway-secrets/hub-token", "{user}", 0o400),
    ("/etc/dask-gateway-secrets/encryption-keys.env", "root", 0o600),
    ("/etc/munge/munge.key", "munge", 0o400),
    ("{state}", "{user}", 0o700),
]


def expand(text: str) -> str:
    return text.format(user=site().slurm.system_user, state=site().slurm.state_directory)


@pytest.mark.weakness(13)
@pytest.mark.parametrize(("path", "owner", "mode"), [*OWNERS_ALONE, ("/etc/dask-gateway/launcher.json", "root", 0o644)])
def test_secrets_are_their_owners_alone(host, path: str, owner: str, mode: int) -> None:
    file = host.file(expand(path))
    assert (file.user, file.mode) == (expand(owner), mode)


@pytest.mark.weakness(13)
@pytest.mark.finding("R6")
@pytest.mark.parametrize("account", ["alice", site().slurm.proxy_user])
@pytest.mark.parametrize("path", [path for path, _, _ in OWNERS_ALONE])
def test_users_and_the_proxy_can_not_read_secrets(host, path: str, account: str) -> None:
    answer = run_as(host, account, ["ls" if path == "{state}" else "cat", expand(path)])
    assert answer.rc != 0
    assert "Permission denied" in answer.stderr


def test_the_directory_of_secrets_is_open_to_the_gateways_group_alone(host) -> None:
    directory = host.file("/etc/dask-gateway-secrets")
    assert (directory.user, directory.group, directory.mode) == ("root", site().slurm.system_user, 0o750)


def test_the_server_writes_the_routes_and_the_proxy_reads_them(host) -> None:
    slurm = site().slurm
    file = host.file(slurm.routes_file)
    directory = host.file(str(PurePosixPath(slurm.routes_file).parent))
    assert (file.user, file.group, file.mode) == (slurm.system_user, slurm.proxy_user, 0o640)
    assert (directory.user, directory.group, directory.mode) == (slurm.system_user, slurm.proxy_user, 0o2750)

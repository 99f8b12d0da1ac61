"""The volumes of the storage table, as the submission host mounts them."""

import pytest

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(("path", "mode"), [("/depot/cms", "rw"), ("/cvmfs", "ro"), ("/eos/purdue", "ro")])
def test_volumes_are_mounted_as_the_storage_table_says(host, path: str, mode: str) -> None:
    mount = host.mount_point(path)
    assert mount.exists
    assert mode in mount.options
    probe = f"{path}/.probe"
    answer = host.run("touch %s", probe)
    if mode == "rw":
        assert answer.rc == 0
        host.check_output("rm %s", probe)
    else:
        assert "Read-only file system" in answer.stderr


def test_a_volume_without_access_on_slurm_is_not_mounted(host) -> None:
    assert not host.file("/work").exists
    assert not host.mount_point("/work").exists

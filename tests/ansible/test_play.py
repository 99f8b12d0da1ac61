"""The play on the testbed's submission host: a second run, and a check run."""

import pytest

from testbed import ansible, submission

pytestmark = pytest.mark.e2e


@pytest.mark.usefixtures("made")
def test_second_run_changes_nothing() -> None:
    assert submission.run_play() == ansible.Play(changes=0, changed=())


def test_check_run_tells_of_a_change_and_makes_none(host) -> None:
    site_file = host.file("/etc/dask-gateway/site.yaml")
    digest = site_file.sha256sum
    host.check_output("chmod 0640 %s", site_file.path)
    try:
        assert submission.run_play(check=True).changed == ("Copy the site file", "Restart server")
        assert site_file.mode == 0o640
    finally:
        host.check_output("chmod 0644 %s", site_file.path)
    assert site_file.sha256sum == digest

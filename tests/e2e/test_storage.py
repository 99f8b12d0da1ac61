"""Every cell of the user guide's storage table, for each class of users of each back end."""

import errno
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

import pytest

from gateway.identity import accounts
from gateway.site import Access, Backend, Volume
from testbed import storage
from tests.e2e import notebooks
from tests.e2e.administration import identity_of
from tests.e2e.back_ends import on_kubernetes
from tests.e2e.machines import SETTINGS
from tests.e2e.notebooks import Notebook, on_worker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PEOPLE = ("alice", "dave-cern", "erin-fnal")
HOME = "/home"
WORKER_CODE = """
def read(path):
    with open(path, "rb") as stream:
        stream.read(1)

def write(path):
    with open(path, "x") as stream:
        stream.write("results")

def remove(path):
    import os
    os.remove(path)

def error_of(action, path):
    try:
        action(path)
    except OSError as error:
        return error.errno
    return None
"""

WithCluster = Callable[[str], Notebook]


def user_class(person: str) -> str:
    return accounts.classify(person, SETTINGS.identity.classes).name


each_user = pytest.mark.parametrize(
    ("backend", "person"),
    [
        pytest.param(backend, person, id=f"{backend}-{person}")
        for backend in Backend
        for person in PEOPLE
        if user_class(person) in SETTINGS.gateway(backend).classes
    ],
    indirect=["backend"],
    scope="session",
)


@pytest.fixture(scope="module")
def with_cluster(backend: Backend, no_leftovers: None) -> Iterator[WithCluster]:
    """Return a function from a person to the person's notebook with a cluster of one worker, shared by these tests."""
    opened: dict[str, Notebook] = {}
    with ExitStack() as stack:

        def open_once(person: str) -> Notebook:
            if person not in opened:
                kernel = stack.enter_context(notebooks.connected(person, backend))
                kernel.run(f"import os\n{WORKER_CODE}")
                notebooks.start_cluster(kernel, f"**{notebooks.SMALL}, env=dict(os.environ)")
                opened[person] = kernel
            return opened[person]

        yield open_once


def error_on_worker(kernel: Notebook, action: str, path: str) -> int | None:
    found: int | None = on_worker(kernel, f"error_of({action}, {path!r})")
    return found


def own_directory(volume: Volume, person: str) -> str:
    """Return a directory of the volume whose owner and mode let the person write."""
    return {
        "depot": "/depot/cms/users/alice" if person == "alice" else "/depot/cms/shared",
        "work": f"/work/users/{person}",
        "cvmfs": "/cvmfs/cms.cern.ch/shared",
        "eos": f"/eos/purdue/store/user/{person}",
    }[volume.name]


@pytest.mark.weakness(21)
@pytest.mark.parametrize("volume", SETTINGS.storage, ids=lambda volume: volume.name)
@each_user
def test_access_is_as_the_table_says(person: str, volume: Volume, backend: Backend, with_cluster: WithCluster) -> None:
    kernel = with_cluster(person)
    access = volume.access_for(backend, user_class(person))
    path = f"{own_directory(volume, person)}/by-{backend}-{person}.txt"
    if access is Access.NONE:
        assert on_worker(kernel, f"os.path.lexists({volume.path!r})") is False
        return
    assert error_on_worker(kernel, "read", f"{volume.path}/{volume.marker}") is None
    if access is Access.READ_ONLY:
        assert error_on_worker(kernel, "write", path) == errno.EROFS
        return
    assert error_on_worker(kernel, "write", path) is None
    try:
        assert owner_on_disk(volume, path) == expected_owner(volume, path, person)
    finally:
        assert error_on_worker(kernel, "remove", path) is None


def on_disk(volume: Volume, path: str) -> Path:
    return storage.volume_directory(volume) / PurePosixPath(path).relative_to(volume.path)


def owner_on_disk(volume: Volume, path: str) -> tuple[int, int]:
    found = on_disk(volume, path).stat()
    return found.st_uid, found.st_gid


def expected_owner(volume: Volume, path: str, person: str) -> tuple[int, int]:
    """Return uid and gid of the person's account; in a directory with the setgid bit, the gid is the directory's."""
    uid, gid, _ = identity_of(person)
    directory = on_disk(volume, path).parent.stat()
    return uid, directory.st_gid if directory.st_mode & stat.S_ISGID else gid


@each_user
def test_home_is_not_visible(person: str, with_cluster: WithCluster) -> None:
    kernel = with_cluster(person)
    assert on_worker(kernel, f"os.path.exists('{HOME}/{person}')") is False
    assert kernel.run(f"client.run_on_scheduler(lambda: os.path.exists('{HOME}/{person}'))") is False


@pytest.mark.weakness(21)
def test_only_purdues_part_of_eos_is_visible(with_cluster: WithCluster) -> None:
    assert on_worker(with_cluster("alice"), "os.listdir('/eos')") == ["purdue"]


def test_private_directories_stay_private(backend: Backend, with_cluster: WithCluster) -> None:
    private = {
        volume.name: own_directory(volume, "alice")
        for volume in SETTINGS.storage
        if volume.access_for(backend, "purdue") is Access.READ_WRITE
    }
    assert "depot" in private
    bob = with_cluster("bob")
    for path in private.values():
        assert error_on_worker(bob, "os.listdir", path) == errno.EACCES
        assert error_on_worker(with_cluster("alice"), "os.listdir", path) is None


def test_scheduler_sees_what_workers_see(backend: Backend, with_cluster: WithCluster) -> None:
    kernel = with_cluster("alice")
    kernel.run(f"""
def mounts():
    import os
    paths = {[volume.path for volume in SETTINGS.storage]!r}
    return {{path: os.statvfs(path).f_flag & os.ST_RDONLY for path in paths if os.path.exists(path)}}
""")
    assert kernel.run("client.run_on_scheduler(mounts)") == on_worker(kernel, "mounts()")


@on_kubernetes
def test_a_missing_mount_is_the_reason_of_a_failed_start(backend: Backend, with_cluster: WithCluster) -> None:
    """A node whose mount was lost has a directory without the marker in place of the volume."""
    (work,) = (volume for volume in SETTINGS.storage if volume.name == "work")
    marker = storage.volume_directory(work) / str(work.marker)
    kernel = with_cluster("alice")
    marker.rename(marker.with_name("moved"))
    try:
        with pytest.raises(notebooks.CellError, match=r"The storage with /work/\.mounted is not mounted"):
            kernel.run(notebooks.new_cluster(notebooks.SMALL, name="other"))
    finally:
        marker.with_name("moved").rename(marker)

"""Stock dask-gateway for the testbed's SLURM: on the submission host, beside ours, with its own account and files."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from gateway.site import Site, load
from release import bundle, process
from testbed import docker, people, slurm, submission, waiting
from testbed.bench.sides import Side, stock
from testbed.bench.stock import answers, configuration
from testbed.paths import SITE

NAME = "stock-dask-gateway"
"""Name of its system user, unit, files and directories."""
PORT = 18000
API_PORT = 18088
INSTALLED = f"/opt/{NAME}"
CONFIGURATION = f"{INSTALLED}/configuration.py"
STAGING = f"/depot/cms/users/{{username}}/.{NAME}"
SUDOERS = f"/etc/sudoers.d/{NAME}"
PYTHON = "/usr/bin/python3"
SECONDS_TO_ANSWER = 60


def sudoers(site: Site) -> str:
    """Return the sudo rule of upstream's documentation, for the same users as ours."""
    groups = ", ".join(f"%{group}" for group in site.slurm.user_groups)
    return f"{NAME} ALL=({groups}, !root) NOPASSWD: {INSTALLED}/bin/dask-gateway-jobqueue-launcher\n"


@contextlib.contextmanager
def up(prefix: str) -> Iterator[Side]:
    """Run it while the context lasts, for the environment in ``prefix``."""
    site = load(SITE)
    _remove()
    try:
        _install()
        _write(CONFIGURATION, _configuration(site, prefix))
        _write(SUDOERS, sudoers(site))
        _execute("chmod", "440", SUDOERS)
        with _homes(slurm.members(site)):
            _execute(
                *("systemd-run", f"--unit={NAME}", "--collect", f"--property=User={NAME}"),
                f"--property=Environment=PATH={INSTALLED}/bin:/usr/bin:/bin",
                *(f"{INSTALLED}/bin/dask-gateway-server", "--config", CONFIGURATION),
            )
            address = f"http://{site.slurm.submission_address}:{PORT}"
            waiting.until("stock's API answers", lambda: answers(address), seconds=SECONDS_TO_ANSWER)
            proxy_address = f"{site.slurm.submission_host}:{PORT}"
            yield stock(f"http://{proxy_address}", proxy_address)
    finally:
        _remove()


@contextlib.contextmanager
def _homes(accounts: Iterable[people.Account]) -> Iterator[None]:
    """Have the home directories in which stock's launcher works; remove the new ones at the end."""
    host = submission.CONTAINER
    missing = [found for found in accounts if not process.succeeds(["docker", "exec", host, "test", "-d", found.home])]
    for account in missing:
        owner = (f"--owner={account.uid}", f"--group={people.load().gid(account.group)}")
        _execute("install", "--directory", "--mode=700", *owner, account.home)
    try:
        yield
    finally:
        if missing:
            _execute("rm", "-rf", *(account.home for account in missing))


def _configuration(site: Site, prefix: str) -> str:
    return configuration.slurm_server(site, port=PORT, api_port=API_PORT, prefix=prefix, staging_directory=STAGING)


def _install() -> None:
    """Install the wheels of ours into an environment of its own."""
    archive = Path(bundle.variables()["gateway_packages_archive"])
    _execute("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", NAME)
    _execute(PYTHON, "-m", "venv", INSTALLED)
    process.run(["docker", "cp", archive, f"{submission.CONTAINER}:{INSTALLED}/packages.tar"])
    _execute("mkdir", f"{INSTALLED}/wheels")
    _execute("tar", "--extract", f"--file={INSTALLED}/packages.tar", f"--directory={INSTALLED}/wheels")
    _execute(
        *(f"{INSTALLED}/bin/pip", "install", "--quiet", "--no-index", f"--find-links={INSTALLED}/wheels"),
        *("--require-hashes", f"--requirement={INSTALLED}/wheels/requirements.txt"),
    )


def _remove() -> None:
    """Remove all of it. It stops its clusters when it stops, unless it is killed."""
    for command in (("systemctl", "stop", NAME), ("userdel", NAME)):
        process.succeeds(["docker", "exec", submission.CONTAINER, *command], timeout_seconds=120)
    _execute("sh", "-c", f"rm -rf {INSTALLED} {SUDOERS} {STAGING.format(username='*')}")


def _execute(*command: str) -> None:
    docker.execute(submission.CONTAINER, command)


def _write(path: str, text: str) -> None:
    docker.execute(submission.CONTAINER, ["tee", path], standard_input=text)

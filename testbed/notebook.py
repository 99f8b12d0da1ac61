"""The notebook container, in which users work: the stock client, the facility's volumes and a JupyterHub token."""

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import IO

from gateway import client, site
from gateway.site import Access
from release import content
from testbed import docker, hub, people, storage
from testbed.certificates import certificate_authority
from testbed.images.table import NOTEBOOK
from testbed.paths import SITE, STATE

NAME = "af-notebook"
ADDRESS = "172.30.0.30"
CONFIGURATION = STATE / "notebook" / "dask"
"""Mounted as ``/etc/dask``."""
TRUSTED = "/usr/lib/ssl/cert.pem:ro"
"""Where OpenSSL, in Debian's configuration, has the authorities that programs trust."""


def ensure_notebook() -> None:
    """Run the container, with a home directory for everybody."""
    volumes = {storage.volume_directory(volume): target(volume) for volume in site.load(SITE).storage}
    for source in volumes:
        # Docker would make the directory, empty and owned by root.
        if not source.is_dir():
            raise RuntimeError(
                f"the notebook needs the directory {source}: run `make testbed`, whose step storage makes it"
            )
    authority = certificate_authority()
    CONFIGURATION.mkdir(parents=True, exist_ok=True)
    (CONFIGURATION / "gateway.yaml").write_text(client.render(site.load(SITE)))
    docker.ensure_container(
        docker.Container(
            name=NAME,
            image=NOTEBOOK.ensure(),
            address=ADDRESS,
            aliases=("notebook",),
            mounts={**volumes, CONFIGURATION: "/etc/dask:ro", authority: TRUSTED},
            inputs=(content.digest(CONFIGURATION, authority),),
        )
    )
    for person in people.load().people:
        uid, gid, _ = identity(person.name)
        docker.execute(
            NAME, ["install", "--directory", f"--owner={uid}", f"--group={gid}", "--mode=700", f"/home/{person.name}"]
        )


def target(volume: site.Volume) -> str:
    """Return where the notebook sees a volume: read-only when no user class may write to it."""
    writable = any(Access.READ_WRITE in by_class.values() for by_class in volume.access.values())
    return volume.path if writable else f"{volume.path}:ro"


def identity(name: str) -> tuple[int, int, tuple[int, ...]]:
    """Return uid, gid and supplementary gids of a person's notebook; those of ``nobody`` without an account.

    Raises ``KeyError`` for a name that is not one of the testbed's people.
    """
    everybody = people.load()
    person = {person.name: person for person in everybody.people}[name]
    account = everybody.account_of(person)
    if account is None:
        return 65534, 65534, ()
    return account.uid, everybody.gid(account.group), tuple(map(everybody.gid, account.supplementary_groups))


def environment(name: str) -> Mapping[str, str]:
    """Return the variables that the facility sets in a person's notebook."""
    uid, gid, _ = identity(name)
    return {
        "HOME": f"/home/{name}",
        "USER": name,
        "NB_USER": name,
        "NB_UID": str(uid),
        "NB_GID": str(gid),
        "JUPYTERHUB_USER": name,
        "JUPYTERHUB_API_TOKEN": hub.token(name),
    }


class Session(AbstractContextManager["Session"]):
    """The command that runs programs as a person in the notebook container.

    The token is in a file that only its owner can read, until the session ends. Every user of the machine sees a
    program's arguments and the container's configuration, so it is in neither.
    """

    def __init__(self, name: str, extra: Mapping[str, str | None] | None = None) -> None:
        """Make the file. ``extra`` variables replace those of :func:`environment`; None removes one."""
        merged = {**environment(name), **(extra or {})}
        self.name = name
        self._file: IO[str] = tempfile.NamedTemporaryFile("w", prefix="af-notebook-")  # noqa: SIM115 - see __exit__
        self._file.writelines(f"{key}={value}\n" for key, value in merged.items() if value is not None)
        self._file.flush()

    def __exit__(self, *_: object) -> None:
        """Remove the file."""
        self._file.close()

    def command(self, arguments: Sequence[str], *, terminal: bool = False) -> list[str]:
        """Return the command line for the host; it passes standard input on."""
        uid, gid, groups = identity(self.name)
        # docker exec's own option --user takes only one group.
        supplementary = ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
        return [
            *("docker", "exec", "--interactive", *(["--tty"] if terminal else [])),
            *("--env-file", self._file.name, "--workdir", f"/home/{self.name}", NAME),
            *("setpriv", f"--reuid={uid}", f"--regid={gid}", *supplementary, "--inh-caps=-all", "--no-new-privs", "--"),
            *arguments,
        ]


def run_as(
    name: str,
    arguments: Sequence[str],
    standard_input: str | None = None,
    *,
    timeout_seconds: float = 300,
    extra: Mapping[str, str | None] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program as a person in the notebook container; return its output and its exit code, whichever it is.

    A program that runs longer than ``timeout_seconds`` is killed; its exit code is 124.
    """
    with Session(name, extra) as session:
        return subprocess.run(
            # In the container, because a signal to docker's command line would leave the program running there.
            session.command(["timeout", "--kill-after=5", str(timeout_seconds), *arguments]),
            input="" if standard_input is None else standard_input,
            capture_output=True,
            text=True,
            check=False,
        )

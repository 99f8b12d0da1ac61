"""Directories of the machine that stand for Depot, /work, CVMFS and EOS, and the users' environments on them."""

import concurrent.futures
import contextvars
import dataclasses
import functools
import shlex
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gateway import site
from release import content, process, wheels
from testbed import people
from testbed.images.base import BASE
from testbed.paths import SITE, STORAGE

ROOT_ID = 0
SHARED_GROUP = "cms"
"""Group that owns Depot's directory of the collaboration."""
STAMP = "conda-meta/testbed-content"
"""File in an environment with the digest of everything that it was made from. It is written last."""


@dataclass(frozen=True)
class Entry:
    """A directory or file that must exist."""

    path: str
    """Path as workers see it."""
    uid: int = ROOT_ID
    gid: int = ROOT_ID
    mode: int = 0o755
    text: str | None = None
    """A file's content; None for a directory."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment in the directory layout of pixi or conda."""

    prefix: str
    """Path as workers see it."""
    history: str
    """Content of ``conda-meta/history``."""
    packages: str = "environment"
    """The locked list ``requirements/NAME.txt`` that is installed."""

    @property
    def key(self) -> str:
        """Digest of everything that the environment is made from."""
        return content.digest(wheels.wheelhouse(self.packages).key, BASE.digest, _RECIPE)


def volume_directory(volume: site.Volume) -> Path:
    """Return the machine's directory that stands for a volume. Raises ``ValueError`` when the site names no path."""
    for source in (volume.slurm, volume.kubernetes):
        if isinstance(source, site.BindSource | site.HostPathSource):
            return STORAGE / PurePosixPath(source.path).name
    raise ValueError(
        f"{SITE}: the testbed has no directory for the volume {volume.name}: give it a source of kind bind or host-path"
    )


def mounts(volumes: Iterable[site.Volume]) -> dict[Path, str]:
    """Return Docker volumes that mount the machine's directories at the volumes' own paths, writable."""
    return {volume_directory(volume): volume.path for volume in volumes}


def source_mounts(testbed: site.Site) -> dict[Path, str]:
    """Return Docker volumes that mount the machine's directories at the sources that a SLURM host binds."""
    return {
        volume_directory(volume): volume.slurm.path
        for volume in testbed.storage
        if isinstance(volume.slurm, site.BindSource)
    }


def ensure_storage() -> None:
    """Make the directories with their owners, modes and marker files. Users' own files stay."""
    testbed = site.load(SITE)
    missing = [entry for entry in entries(testbed, people.load()) if not _is_right(entry, testbed)]
    process.say(f"{len(missing)} of the storage directories' entries are missing")
    if not missing:
        return
    for volume in testbed.storage:
        volume_directory(volume).mkdir(parents=True, exist_ok=True)
    script = "\n".join(_command(entry) for entry in missing)
    _in_container(BASE.ensure(), testbed, ["sh", "-e"], standard_input=script)


def entries(testbed: site.Site, everybody: people.People) -> list[Entry]:
    """Return all entries, parents before their children."""
    listed = [
        *_common(testbed, everybody.gid(SHARED_GROUP)),
        *(entry for person in everybody.people for entry in _personal(person, everybody)),
        *_projects(),
        *(
            Entry(f"{volume.path}/{volume.marker}", mode=0o444, text="")
            for volume in testbed.storage
            if volume.marker is not None
        ),
    ]
    return [_inheriting(entry) for entry in listed]


def _inheriting(entry: Entry) -> Entry:
    """Return an entry of Depot with setgid: new files there get the directory's group, as on the real Depot."""
    if entry.text is None and PurePosixPath(entry.path).is_relative_to("/depot/cms"):
        return dataclasses.replace(entry, mode=entry.mode | stat.S_ISGID)
    return entry


def _common(testbed: site.Site, group: int) -> Iterator[Entry]:
    for volume in testbed.storage:
        if volume.path != "/depot/cms":
            yield Entry(volume.path)
    yield Entry("/depot/cms", gid=group, mode=0o775)
    yield Entry("/depot/cms/users")
    yield Entry("/depot/cms/projects", gid=group, mode=0o775)
    yield Entry("/depot/cms/conda", gid=group, mode=0o775)
    # In "shared", owners and modes let every user write, so that only the mount can prevent it.
    yield Entry("/depot/cms/shared", gid=group, mode=0o777)
    yield Entry("/work/users")
    yield Entry("/work/projects")
    yield Entry("/work/pixi")
    yield Entry("/cvmfs/cms.cern.ch")
    yield Entry("/cvmfs/cms.cern.ch/shared", mode=0o777)
    yield Entry("/cvmfs/cms.cern.ch/SITECONF")
    yield Entry("/cvmfs/cms.cern.ch/SITECONF/local")
    yield Entry("/cvmfs/cms.cern.ch/SITECONF/local/site.txt", mode=0o444, text="T2_US_Purdue\n")
    yield Entry("/eos/purdue/store")
    yield Entry("/eos/purdue/store/user")


def _personal(person: people.Person, everybody: people.People) -> Iterator[Entry]:
    account = everybody.account_of(person)
    if account is None:
        return
    own = functools.partial(Entry, uid=account.uid, gid=everybody.gid(account.group))
    if SHARED_GROUP in account.supplementary_groups:
        group = everybody.gid(SHARED_GROUP)
        yield Entry(f"/depot/cms/users/{person.name}", uid=account.uid, gid=group, mode=0o700)
    yield own(f"/work/users/{person.name}", mode=0o700)
    yield own(f"/eos/purdue/store/user/{person.name}")
    yield own(f"/eos/purdue/store/user/{person.name}/numbers.txt", mode=0o644, text="1\n2\n3\n")


def _projects() -> Iterator[Entry]:
    for project, names in _PIXI_PROJECTS.items():
        yield Entry(project)
        yield Entry(f"{project}/pixi.toml", mode=0o644, text=_pixi_manifest(names))
        yield Entry(f"{project}/.pixi")
        yield Entry(f"{project}/.pixi/envs")


_PIXI_PROJECTS: Mapping[str, tuple[str, ...]] = {
    "/depot/cms/projects/analysis": ("default", "my-env"),
    "/work/projects/analysis": ("default",),
    "/work/pixi/global": ("default",),
}
_CONDA_ENVIRONMENT = "/depot/cms/conda/analysis"
_OLDER_CONDA_ENVIRONMENT = "/depot/cms/conda/older"


def _pixi_manifest(names: tuple[str, ...]) -> str:
    others = [name for name in names if name != "default"]
    lines = ["[workspace]", 'name = "analysis"', 'channels = ["conda-forge"]', 'platforms = ["linux-64"]', ""]
    lines += ["[dependencies]", 'dask-gateway = "*"', ""]
    for name in others:
        lines += [f"[feature.{name}.dependencies]", ""]
    lines += ["[environments]", *(f'{name} = ["{name}"]' for name in others)] if others else []
    return "\n".join([*lines, ""])


def environments() -> list[Environment]:
    """Return the users' environments on the testbed."""
    return [
        *(
            Environment(f"{project}/.pixi/envs/{name}", f"// made by pixi from {project}/pixi.toml\n")
            for project, names in _PIXI_PROJECTS.items()
            for name in names
        ),
        *(
            Environment(prefix, f"# cmd: conda create --prefix {prefix} dask-gateway\n", packages)
            for prefix, packages in ((_CONDA_ENVIRONMENT, "environment"), (_OLDER_CONDA_ENVIRONMENT, "older"))
        ),
    ]


def ensure_environments() -> None:
    """Make the users' environments at their own paths, with the Python that pods and nodes have."""
    testbed = site.load(SITE)
    wanted = [
        environment
        for environment in environments()
        if _text(_on_machine(f"{environment.prefix}/{STAMP}", testbed)) != environment.key
    ]
    process.say(f"{len(wanted)} environments are missing or out of date")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        # Each runs in a copy of this context, in which output goes to the running step's log.
        done = [
            pool.submit(contextvars.copy_context().run, _make_environment, environment, testbed)
            for environment in wanted
        ]
    for future in done:
        future.result()


_RECIPE = """\
umask 022
rm -rf "$1"
python3 -m venv "$1"
"$1/bin/pip" install --quiet --disable-pip-version-check --no-index --find-links /wheels --require-hashes \
  --requirement /wheels/requirements.txt
mkdir "$1/conda-meta"
printf %s "$2" > "$1/conda-meta/history"
printf %s "$4" > "$1/$3"
"""


def _make_environment(environment: Environment, testbed: site.Site) -> None:
    _in_container(
        BASE.ensure(),
        testbed,
        ["sh", "-e", "-s", environment.prefix, environment.history, STAMP, environment.key],
        volumes={wheels.wheelhouse(environment.packages).make(): "/wheels:ro"},
        standard_input=_RECIPE,
    )


_RUN = ("docker", "run", "--rm", "--interactive", "--network", "none")


def _in_container(
    image: str,
    testbed: site.Site,
    command: list[str],
    *,
    standard_input: str,
    volumes: Mapping[Path, str] | None = None,
) -> None:
    """Run a program as root, in a container with all volumes at their own paths; the group docker may do so."""
    places = {**mounts(testbed.storage), **(volumes or {})}
    options = [option for place, target in places.items() for option in ("--volume", f"{place}:{target}")]
    process.run(
        [*_RUN, *options, "--entrypoint", command[0], image, *command[1:]],
        standard_input=standard_input,
    )


def _command(entry: Entry) -> str:
    path = shlex.quote(entry.path)
    owner = f"-o {entry.uid} -g {entry.gid} -m {entry.mode:04o}"
    if entry.text is None:
        return f"install -d {owner} {path}"
    return f"printf %s {shlex.quote(entry.text)} | install {owner} /dev/stdin {path}"


def _is_right(entry: Entry, testbed: site.Site) -> bool:
    path = _on_machine(entry.path, testbed)
    try:
        found = path.stat()
    except (FileNotFoundError, PermissionError):
        return False
    kind = stat.S_ISDIR if entry.text is None else stat.S_ISREG
    same = (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (entry.uid, entry.gid, entry.mode)
    return kind(found.st_mode) and same and (entry.text is None or _text(path) == entry.text)


def _on_machine(path: str, testbed: site.Site) -> Path:
    """Return where the machine has a path that workers see. Raises ``ValueError`` for a path outside of all volumes."""
    for volume in testbed.storage:
        if PurePosixPath(path).is_relative_to(volume.path):
            return volume_directory(volume) / PurePosixPath(path).relative_to(volume.path)
    raise ValueError(f"{path} is on none of the volumes of {SITE}: choose a path below one of them")


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None

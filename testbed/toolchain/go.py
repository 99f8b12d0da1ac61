"""Build Go programs from their modules, which ``testbed/toolchain/NAME/go.mod`` and ``go.sum`` pin.

The result goes to the cache, keyed by the pins and the flags. An interrupted build goes on where it stopped, because Go
has a build cache of its own.
"""

import collections
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from release import content, process
from testbed.toolchain import debian, versions

HERE = Path(__file__).resolve().parent
DEBIAN_GO = Path("/usr/lib/go-1.24/bin/go")
DEBIAN_PACKAGE = "golang-1.24-go/trixie"

_one_at_a_time = threading.Lock()
"""One build at a time: a Go build uses all cores and, while it links, gigabytes of memory."""
_same_build: collections.defaultdict[str, threading.Lock] = collections.defaultdict(threading.Lock)
"""Key of a build -> its lock. A step that needs the result of another step's build waits for it."""


@dataclass(frozen=True)
class GoCommand:
    """A ``go`` command and the toolchain with which it builds."""

    path: Path
    toolchain: str

    @property
    def environment(self) -> dict[str, str]:
        """Settings that make a build the same on every machine."""
        return {"GOTOOLCHAIN": self.toolchain, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}


def go_command() -> GoCommand:
    """Return the ``go`` of PATH when it is recent enough, else Debian's. An old one fetches the right release as a
    module.

    Raises :class:`debian.AdministratorNeededError`.
    """
    for path in (shutil.which("go"), DEBIAN_GO):
        found = _usable(Path(path)) if path else None
        if found:
            return found
    debian.install([DEBIAN_PACKAGE], "Go is needed to build Kubernetes and Pulumi")
    found = _usable(DEBIAN_GO)
    if not found:
        raise RuntimeError(f"{DEBIAN_GO} of {DEBIAN_PACKAGE} does not run")
    return found


def _usable(path: Path) -> GoCommand | None:
    try:
        text = process.capture([path, "version"], environment={"GOTOOLCHAIN": "local"})
    except (FileNotFoundError, process.CommandError):
        return None
    return choose_toolchain(path, versions.parse(text.replace("go1", "1")))


def choose_toolchain(path: Path, version: versions.Version | None) -> GoCommand | None:
    """Return how a ``go`` command of a version builds our modules, or None when it can't."""
    if versions.GO_COMMAND.fits(version):
        return GoCommand(path, "local")
    if versions.GO_COMMAND_WITH_TOOLCHAINS.fits(version):
        return GoCommand(path, f"go{versions.GO}")
    return None


@dataclass(frozen=True)
class GoBuild:
    """Programs that one ``go build`` makes."""

    name: str
    """Directory of ``go.mod`` and ``go.sum`` under ``testbed/toolchain``."""
    duration: str
    """Duration of a build without caches on two cores, for the log."""
    package: str = "tool"
    """What to build: the module's ``tool`` lines, or ``.`` for its own main package."""
    stamps: Mapping[str, str] = field(default_factory=dict)
    """Variable -> value that the linker sets: versions that programs report."""
    module_files: Mapping[str, str] = field(default_factory=dict)
    """Name -> ``MODULE//PATH``: files of modules that are copied beside the main package before the build."""
    extra_programs: Mapping[str, str] = field(default_factory=dict)
    """Name -> ``MODULE//PATH``: files of modules that are copied beside the built programs, executable."""
    data_files: Mapping[str, str] = field(default_factory=dict)
    """The same for files that are not executable."""

    @property
    def directory(self) -> Path:
        """Directory of the module's pins."""
        return HERE / self.name

    @property
    def linker_flags(self) -> str:
        """Flags of the linker: no symbol tables, and the stamps."""
        return " ".join(["-s -w", *(f"-X {variable}={value}" for variable, value in self.stamps.items())])

    @property
    def programs(self) -> content.Input:
        """The directory of the built programs."""
        files = {**self.module_files, **self.extra_programs, **self.data_files}
        copied = [f"{name}={source}" for name, source in files.items()]
        key = content.digest(self.directory, self.package, self.linker_flags, *copied)
        entry = f"{self.name}-{key}"

        def make() -> Path:
            with _same_build[entry]:
                return content.cached("go", entry, self._build)

        return content.Input(f"go/{entry}", make)

    def program(self, name: str) -> content.Input:
        """Return one of the built programs."""
        programs = self.programs
        return content.Input(f"{programs.key}/{name}", lambda: programs.make() / name)

    def _build(self, target: Path) -> None:
        go = go_command()
        with _one_at_a_time, tempfile.TemporaryDirectory(prefix=f"{self.name}-") as scratch:
            process.say(f"building {self.name} from its Go module: {self.duration} without caches on 2 cores")
            module = Path(scratch) / self.name
            shutil.copytree(self.directory, module)
            for name, source in self.module_files.items():
                shutil.copyfile(_module_file(go, module, source), module / name)
            process.run(
                [
                    *("nice", go.path, "build", "-v", "-trimpath", "-ldflags", self.linker_flags),
                    *("-o", f"{target}{os.sep}", self.package),
                ],
                directory=module,
                environment=go.environment,
                timeout_seconds=3600,
            )
            for name, source in {**self.extra_programs, **self.data_files}.items():
                shutil.copyfile(_module_file(go, module, source), target / name)
            for name in self.extra_programs:
                (target / name).chmod(0o755)


def _module_file(go: GoCommand, module: Path, source: str) -> Path:
    """Return a file of a module that ``go.mod`` pins; ``source`` is ``MODULE//PATH``."""
    name, path = source.split("//", 1)
    process.run([go.path, "mod", "download", name], directory=module, environment=go.environment)
    listing: list[str | Path] = [go.path, "list", "-m", "-f", "{{.Dir}}", name]
    return Path(process.capture(listing, directory=module, environment=go.environment).strip()) / path

"""Install Debian packages on this machine: root does, other users get the commands for their administrator."""

import os
import re
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from release import process
from testbed.images.base import FALLBACK_MIRROR_FILE, SOURCES

TRIXIE = "trixie"
TRIXIE_SOURCES = Path("/etc/apt/sources.list.d/trixie.sources")
TRIXIE_PREFERENCES = Path("/etc/apt/preferences.d/trixie")
PREFERENCES_TEXT = "Package: *\nPin: release n=trixie\nPin-Priority: 100\n"
"""Priority below everything installed and below bookworm: apt takes from trixie only the packages that a command names
so."""

_one_at_a_time = threading.Lock()
"""apt refuses to run while another apt runs."""


class AdministratorNeededError(Exception):
    """Only root can do this; the error carries the commands."""

    def __init__(self, purpose: str, commands: Sequence[str]) -> None:
        self.purpose, self.commands = purpose, tuple(commands)
        lines = "\n".join(f"  {command}" for command in commands)
        super().__init__(f"{purpose}. Ask an administrator to run as root:\n{lines}")


def ensure_programs(programs: Sequence[str], packages: Sequence[str], purpose: str) -> None:
    """Install ``packages`` unless all ``programs`` are on PATH.

    A package is named as apt takes it: ``NAME`` or ``NAME/trixie``. Raises :class:`AdministratorNeededError` for users
    other than root.
    """
    path = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
    if all(shutil.which(program, path=path) for program in programs):
        return
    install(packages, purpose)


def install(packages: Sequence[str], purpose: str) -> None:
    """Install packages without their recommended ones. Raises like :func:`ensure_programs`."""
    from_trixie = any(package.endswith(f"/{TRIXIE}") for package in packages)
    sources = trixie_sources(_bookworm_sources()) if from_trixie else ""
    if os.geteuid() != 0:
        raise AdministratorNeededError(purpose, installation_commands(packages, sources))
    with _one_at_a_time:
        if from_trixie:
            TRIXIE_SOURCES.write_text(sources)
            TRIXIE_PREFERENCES.write_text(PREFERENCES_TEXT)
        process.run(["apt-get", "update", "--quiet"])
        process.run(
            [
                *("apt-get", "install", "--yes", "--quiet", "--no-install-recommends"),
                *("--option", "DPkg::Lock::Timeout=600", *packages),
            ],
            environment={"DEBIAN_FRONTEND": "noninteractive"},
        )


def ensure_debootstrap() -> None:
    """Have debootstrap, which makes the base image. Raises like :func:`ensure_programs`."""
    packages = ("debootstrap", "debian-archive-keyring")
    ensure_programs(("debootstrap",), packages, "debootstrap, which makes the images' base, is not installed")


def ensure_ssh() -> None:
    """Have the SSH client, over which Ansible works. Raises like :func:`ensure_programs`."""
    ensure_programs(("ssh", "ssh-keygen"), ("openssh-client",), "the SSH client is not installed")


def installation_commands(packages: Sequence[str], sources: str) -> list[str]:
    """Return the commands by which root gets the packages; ``sources`` is the text of trixie's source, or empty."""
    files = {TRIXIE_SOURCES: sources, TRIXIE_PREFERENCES: PREFERENCES_TEXT} if sources else {}
    return [
        *(f"tee {path} <<'END'\n{text.rstrip()}\nEND" for path, text in files.items()),
        "apt-get update",
        f"apt-get install --no-install-recommends {' '.join(packages)}",
    ]


def trixie_sources(bookworm: str) -> str:
    """Return trixie's source in deb822 form, from this machine's bookworm source in either form.

    Raises ``ValueError`` when the text has no bookworm entry.
    """
    for stanza in re.split(r"\n\s*\n", bookworm):
        lines = [line for line in stanza.splitlines() if not line.lstrip().startswith("#")]
        if any(re.match(r"Suites:.*\bbookworm\b(?!-)", line) for line in lines):
            return "".join(f"{re.sub(r'^Suites:.*', f'Suites: {TRIXIE}', line)}\n" for line in lines)
    found = re.search(r"^deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+bookworm\s", bookworm, re.MULTILINE)
    if not found:
        raise ValueError("the package sources have no entry of Debian bookworm: add one")
    signed = re.search(r"signed-by=(\S+)", found["options"] or "")
    key = signed[1] if signed else "/usr/share/keyrings/debian-archive-keyring.gpg"
    return f"Types: deb\nURIs: {found['uri']}\nSuites: {TRIXIE}\nComponents: main\nSigned-By: {key}\n"


def _bookworm_sources() -> str:
    for path in (SOURCES, FALLBACK_MIRROR_FILE):
        if path.is_file():
            return path.read_text()
    raise RuntimeError(f"no package source found: neither {SOURCES} nor {FALLBACK_MIRROR_FILE} exists")

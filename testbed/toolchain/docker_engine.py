"""Docker's engine: the running one; else the installed one, which is started; else Debian's, installed and started."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from release import process
from testbed import pid_files
from testbed.paths import LOGS, STATE
from testbed.toolchain import debian, versions

PACKAGES = ("docker.io/trixie", "containerd/trixie", "docker-cli/trixie")
SOCKET = Path("/var/run/docker.sock")
CONTAINERD_SOCKET = Path("/run/containerd/containerd.sock")
PID_FILES = {
    Path("/var/run/docker.pid"): "dockerd",
    Path("/var/run/docker/containerd/containerd.pid"): "containerd",
}
"""Pid file -> the program that writes it. The engine refuses to start while any process has that id."""
STARTED = STATE / "dockerd.pid"
"""File with the process id of the engine that :func:`ensure` has started."""
LOG = LOGS / "dockerd.log"
NAMESPACES = Path("/run/docker/netns")
INTERFACES = Path("/sys/class/net")
BRIDGE = re.compile(r"docker0|br-[0-9a-f]{12}")
"""Names that Docker gives to the bridges of its networks."""
ADMINISTRATORS_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class EngineError(Exception):
    """Docker's engine can't be used; the text says what to do."""


def ensure() -> None:
    """Have a Docker engine that answers; do nothing when one does.

    Raises :class:`debian.AdministratorNeededError` for a user who may not install, start or use it, and
    :class:`EngineError` when it does not start.
    """
    answer = _server_version()
    if answer is None:
        _install_if_absent()
        _start()
        answer = _server_version()
    version = versions.parse(answer or "")
    if not versions.DOCKER_ENGINE.fits(version):
        raise EngineError(
            f"the Docker engine has version {answer}, the testbed needs {versions.DOCKER_ENGINE}. Stop it, remove its "
            "package and run this again: it installs Debian trixie's."
        )


def answers() -> bool:
    """Return whether an engine answers this user."""
    try:
        return _server_version() is not None
    except (EngineError, debian.AdministratorNeededError):
        return False


def stop(patience_seconds: float = 60) -> bool:
    """Stop the engine if :func:`ensure` has started it and no container runs; return whether it was stopped."""
    if not STARTED.is_file():
        return False
    text = STARTED.read_text()
    if not pid_files.is_valid(text, "dockerd"):
        STARTED.unlink()
        return False
    if process.capture(["docker", "ps", "--quiet"]).strip():
        process.say("the Docker engine stays: other containers run on it")
        return False
    os.kill(int(text), signal.SIGTERM)
    deadline = time.monotonic() + patience_seconds
    while pid_files.is_valid(text, "dockerd"):
        if time.monotonic() > deadline:
            raise EngineError(f"the Docker engine, process {text}, did not stop within {patience_seconds:.0f} s")
        time.sleep(0.2)
    STARTED.unlink()
    _unmount_namespaces()
    return True


def _unmount_namespaces() -> None:
    """Unmount the network namespaces that the engine leaves mounted when it stops."""
    for path in NAMESPACES.glob("*"):
        if process.succeeds(["mountpoint", "--quiet", str(path)]):
            process.run(["umount", path])


def _server_version() -> str | None:
    """Return the running engine's version, or None. Raises for an engine that this user may not use."""
    if shutil.which("docker") is None:
        return None
    try:
        return process.capture(["docker", "version", "--format", "{{.Server.Version}}"], timeout_seconds=30).strip()
    except subprocess.TimeoutExpired as error:
        raise EngineError("the Docker engine does not answer within 30 s: restart it") from error
    except process.CommandError as error:
        if "permission denied" in error.output:
            raise debian.AdministratorNeededError(
                "You may not use the Docker engine of this machine",
                ['usermod --append --groups docker "$USER_NAME"  # then log in again'.replace("$USER_NAME", _user())],
            ) from error
        return None


def _user() -> str:
    return os.environ.get("USER") or str(os.geteuid())


def _install_if_absent() -> None:
    debian.ensure_programs(("docker", "dockerd", "containerd"), PACKAGES, "Docker's engine is not installed")


def _start() -> None:
    systemd = Path("/run/systemd/system").is_dir()
    if os.geteuid() != 0:
        command = "systemctl start docker" if systemd else "setsid dockerd >/var/log/dockerd.log 2>&1 </dev/null &"
        raise debian.AdministratorNeededError("Docker's engine is installed but does not run", [command])
    if systemd:
        process.run(["systemctl", "start", "docker"])
    else:
        _remove_leftovers()
        _start_detached()
    _wait()


def _remove_leftovers() -> None:
    """Remove the leftovers of a killed engine, for which the next engine would wait or refuse to start."""
    for path, program in PID_FILES.items():
        if path.is_file() and not pid_files.is_valid(path.read_text(), program):
            process.say(f"removing {path}: no {program} has this process id")
            path.unlink()
    if CONTAINERD_SOCKET.is_socket() and not _accepts(CONTAINERD_SOCKET):
        process.say(f"removing {CONTAINERD_SOCKET}: no process listens on it")
        CONTAINERD_SOCKET.unlink()
    _unmount_namespaces()
    _disconnect_dead_containers()


def _disconnect_dead_containers() -> None:
    """Detach the interfaces of containers that died with their engine from its bridges.

    The kernel keeps a dead container's network, with its addresses, while one of its sockets waits for a peer to learn
    that it has closed. This takes up to two minutes, in which the dead network answers for the next container with its
    addresses.
    """
    links = links_of_containers(INTERFACES)
    if links:
        debian.ensure_programs(("ip",), ("iproute2",), "ip is not installed")
    for link in links:
        process.say(f"removing {link}: its container died with the engine")
        # The interface may already have gone with the namespace that has just been unmounted.
        process.succeeds(["ip", "link", "delete", link])


def links_of_containers(interfaces: Path) -> list[str]:
    """Return the names of the interfaces that are ports of Docker's bridges, as ``/sys/class/net`` lists them."""
    masters = {path.name: path / "master" for path in interfaces.iterdir()}
    return sorted(name for name, master in masters.items() if BRIDGE.fullmatch(master.resolve().name))


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        try:
            connection.connect(str(path))
        except OSError:
            return False
    return True


def _start_detached(command: Sequence[str] = ("dockerd",)) -> None:
    """Start the engine in a session of its own, so that it outlives this program and its terminal."""
    LOG.parent.mkdir(parents=True, exist_ok=True)
    process.say(f"starting {' '.join(command)}, log {LOG}")
    with LOG.open("a") as log:
        engine = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:{ADMINISTRATORS_PATH}"},
        )
    STARTED.write_text(f"{engine.pid}\n")


def _wait(patience_seconds: float = 90) -> None:
    deadline = time.monotonic() + patience_seconds
    while _server_version() is None:
        if time.monotonic() > deadline:
            tail = "\n".join(LOG.read_text().splitlines()[-15:]) if LOG.is_file() else "see: journalctl -u docker"
            raise EngineError(f"Docker's engine did not answer within {patience_seconds:.0f} s\n{tail}")
        time.sleep(0.5)

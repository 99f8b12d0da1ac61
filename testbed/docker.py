"""The testbed's containers and network, over the docker command line."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from release import content, process
from release.image import image_id
from release.paths import PROJECT

LABEL = f"{PROJECT}=testbed"
"""On everything that ``make testbed-down`` removes."""
CONFIGURATION_LABEL = f"{PROJECT}.configuration"
NETWORK = "af-testbed"
SUBNET = "172.30.0.0/24"
DYNAMIC_RANGE = "172.30.0.128/25"
"""Addresses below are given by name in sites/testbed.yaml and in the containers' definitions."""


@dataclass(frozen=True)
class Container:
    """A container that should run."""

    name: str
    image: str
    command: tuple[str, ...] = ()
    address: str | None = None
    """Fixed address in :data:`NETWORK`."""
    aliases: tuple[str, ...] = ()
    mounts: Mapping[Path, str] = field(default_factory=dict)
    """Host path -> ``PATH[:ro][,rslave]`` in the container, as docker's ``--volume`` writes it."""
    environment: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    """Further options of ``docker run``."""
    inputs: tuple[str, ...] = ()
    """What else makes it another container when it changes, for example a digest of mounted configuration."""

    @property
    def hostname(self) -> str:
        """The first alias, by which others know it; else the name."""
        return (*self.aliases, self.name)[0]

    def configuration(self, image_id: str) -> str:
        """Digest of everything that the container was made from."""
        parts = [self.name, image_id, *self.command, self.address or "", *self.aliases, *self.options, *self.inputs]
        parts += [f"{source}:{target}" for source, target in self.mounts.items()]
        parts += [f"{name}={value}" for name, value in self.environment.items()]
        return content.digest(*(f"{part}\0" for part in parts))


def ensure_network() -> None:
    """Make the testbed's network unless it is there."""
    if process.succeeds(["docker", "network", "inspect", NETWORK]):
        return
    process.run(
        ["docker", "network", "create", "--label", LABEL, "--subnet", SUBNET, "--ip-range", DYNAMIC_RANGE, NETWORK]
    )


def ensure_container(container: Container) -> bool:
    """Make the container run as defined; a stopped or differently configured one is replaced.

    Returns whether it was (re)made.
    """
    identifier = image_id(container.image)
    if identifier is None:
        raise RuntimeError(f"container {container.name} needs the image {container.image}, which is not built")
    configuration = container.configuration(identifier)
    if _running_configuration(container.name) == configuration:
        process.say(f"{container.name} runs")
        return False
    remove_container(container.name)
    command = ["docker", "run", "--detach", "--label", LABEL, "--label", f"{CONFIGURATION_LABEL}={configuration}"]
    command += ["--name", container.name, "--hostname", container.hostname, "--network", NETWORK]
    command += ["--ip", container.address] if container.address else []
    for alias in container.aliases:
        command += ["--network-alias", alias]
    for source, target in container.mounts.items():
        command += ["--volume", f"{source}:{target}"]
    for name, value in container.environment.items():
        command += ["--env", f"{name}={value}"]
    process.run([*command, *container.options, container.image, *container.command])
    return True


def _running_configuration(name: str) -> str | None:
    try:
        text = process.capture(["docker", "container", "inspect", name])
    except process.CommandError:
        return None
    (details,) = json.loads(text)
    if not details["State"]["Running"]:
        return None
    label = details["Config"]["Labels"].get(CONFIGURATION_LABEL)
    return str(label) if label else None


def is_running(name: str) -> bool:
    """Whether a container of that name runs."""
    return process.succeeds(["docker", "exec", name, "true"])


def remove_container(name: str) -> None:
    """Remove a container with its anonymous volumes, if it exists."""
    if process.succeeds(["docker", "container", "inspect", name]):
        process.run(["docker", "rm", "--force", "--volumes", name])


def execute(name: str, command: Sequence[str], *, standard_input: str | None = None) -> str:
    """Run a program in a container and return its standard output."""
    interactive = ["--interactive"] if standard_input is not None else []
    return process.capture(["docker", "exec", *interactive, name, *command], standard_input=standard_input)

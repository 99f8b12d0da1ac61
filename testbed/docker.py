"""The testbed's containers and network, by the docker command."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from release import content, process
from release.image import image_id
from release.paths import PROJECT

LABEL = f"{PROJECT}=testbed"
"""Label of everything that ``make testbed-down`` removes."""
CONFIGURATION_LABEL = f"{PROJECT}.configuration"
NETWORK = "af-testbed"
SUBNET = "172.30.0.0/24"
DYNAMIC_RANGE = "172.30.0.128/25"
"""Docker assigns addresses in this range. Addresses below it are fixed: in sites/testbed.yaml and in the modules of the
containers."""


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
    """Host path -> ``PATH[:ro][,rslave]`` in the container, in the syntax of docker's ``--volume``."""
    environment: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    """Further options of ``docker run``."""
    inputs: tuple[str, ...] = ()
    """Further text whose change must replace the container, for example a digest of mounted configuration."""

    @property
    def hostname(self) -> str:
        """The first alias, else the name."""
        return (*self.aliases, self.name)[0]

    def configuration(self, image_id: str) -> str:
        """Return a digest of everything that the container is made from."""
        parts = [self.name, image_id, *self.command, self.address or "", *self.aliases, *self.options, *self.inputs]
        parts += [f"{source}:{target}" for source, target in self.mounts.items()]
        parts += [f"{name}={value}" for name, value in self.environment.items()]
        return content.digest(*(f"{part}\0" for part in parts))


def ensure_network() -> None:
    """Make the testbed's network unless it exists."""
    if process.succeeds(["docker", "network", "inspect", NETWORK]):
        return
    process.run(
        ["docker", "network", "create", "--label", LABEL, "--subnet", SUBNET, "--ip-range", DYNAMIC_RANGE, NETWORK]
    )


def ensure_container(container: Container) -> bool:
    """Make the container run as defined; replace one that has stopped or is configured otherwise.

    Returns whether a container was made.
    """
    identifier = image_id(container.image)
    if identifier is None:
        raise RuntimeError(
            f"container {container.name} needs the image {container.image}, which the Docker engine does not have"
        )
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
    """Return whether a container of that name runs."""
    return process.succeeds(["docker", "exec", name, "true"])


def remove_container(name: str) -> None:
    """Remove a container with its anonymous volumes, if it exists."""
    if process.succeeds(["docker", "container", "inspect", name]):
        process.run(["docker", "rm", "--force", "--volumes", name])


def execute(name: str, command: Sequence[str], *, standard_input: str | None = None) -> str:
    """Run a program in a container and return its standard output."""
    interactive = ["--interactive"] if standard_input is not None else []
    return process.capture(["docker", "exec", *interactive, name, *command], standard_input=standard_input)

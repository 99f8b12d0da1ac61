"""Pulumi's environment: its programs, its plugin in the place where it looks for it, and where stacks' state lives."""

import os
from pathlib import Path

from release import content
from testbed.paths import STATE
from testbed.toolchain import versions
from testbed.toolchain.programs import PULUMI, PULUMI_BUILD, PULUMI_KUBERNETES_BUILD, PULUMI_PYTHON_BUILD

HOME = STATE / "pulumi-home"
STACK_STATE = STATE / "pulumi"
"""The file back end; what it says is true of one cluster only."""
PLUGIN = f"resource-kubernetes-v{versions.PULUMI_KUBERNETES}"
PLUGIN_PROGRAM = "pulumi-resource-kubernetes"


def ensure() -> Path:
    """Have the command, the Python language host and the Kubernetes provider; returns the command."""
    command = PULUMI.on_path or _bundle() / PULUMI.name
    # Found on PATH instead, the provider would warn twice a run. Pulumi looks only at real directories.
    link = HOME / "plugins" / PLUGIN / PLUGIN_PROGRAM
    program = _plugin() / PLUGIN_PROGRAM
    if not (link.is_symlink() and link.readlink() == program):
        if link.parent.is_symlink():
            link.parent.unlink()
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(program)
    return command


def environment() -> dict[str, str]:
    """What ``pulumi`` needs in its environment, without the passphrase. Makes what is missing, like :func:`ensure`."""
    command = ensure()
    STACK_STATE.mkdir(parents=True, exist_ok=True)
    return {
        "PATH": f"{command.parent}:{os.environ.get('PATH', os.defpath)}",
        "PULUMI_HOME": str(HOME),
        "PULUMI_BACKEND_URL": STACK_STATE.as_uri(),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }


def _bundle() -> Path:
    """The command and the language host in one directory: from another one, each run would warn of the host."""
    builds = (PULUMI_BUILD, PULUMI_PYTHON_BUILD)

    def link(directory: Path) -> None:
        for build in builds:
            for program in build.programs.make().iterdir():
                (directory / program.name).hardlink_to(program)

    return content.cached("go", f"pulumi-bundle-{content.digest(*(build.programs.key for build in builds))}", link)


def _plugin() -> Path:
    """The provider's directory: the user's own when Pulumi has installed it before, else the one built here."""
    installed = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi") / "plugins" / PLUGIN
    if installed != HOME / "plugins" / PLUGIN and (installed / PLUGIN_PROGRAM).is_file():
        return installed
    return PULUMI_KUBERNETES_BUILD.programs.make()

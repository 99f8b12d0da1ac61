"""Pulumi's programs, its plugin in the directory where Pulumi searches it, and the directory of the stacks' state."""

import os
from pathlib import Path

from release import content
from testbed.paths import STATE
from testbed.toolchain import versions
from testbed.toolchain.programs import PULUMI, PULUMI_BUILD, PULUMI_KUBERNETES_BUILD, PULUMI_PYTHON_BUILD

HOME = STATE / "pulumi-home"
STACK_STATE = STATE / "pulumi"
"""Directory of the file back end, which describes one cluster only."""
PLUGIN = f"resource-kubernetes-v{versions.PULUMI_KUBERNETES}"
PLUGIN_PROGRAM = "pulumi-resource-kubernetes"


def ensure() -> Path:
    """Have the command, the Python language host and the Kubernetes provider; return the command."""
    command = PULUMI.on_path or _bundle() / PULUMI.name
    # Pulumi warns twice a run of a provider that it finds on PATH, and it accepts only real directories of plugins.
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
    """Return the variables that ``pulumi`` needs, without the passphrase. Builds like :func:`ensure`."""
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
    """Return a directory with command and language host: Pulumi warns at each run of a host in another directory."""
    builds = (PULUMI_BUILD, PULUMI_PYTHON_BUILD)

    def link(directory: Path) -> None:
        for build in builds:
            for program in build.programs.make().iterdir():
                (directory / program.name).hardlink_to(program)

    return content.cached("go", f"pulumi-bundle-{content.digest(*(build.programs.key for build in builds))}", link)


def _plugin() -> Path:
    """Return the provider's directory: the user's own if Pulumi has installed it before, else the one built here."""
    installed = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi") / "plugins" / PLUGIN
    if installed != HOME / "plugins" / PLUGIN and (installed / PLUGIN_PROGRAM).is_file():
        return installed
    return PULUMI_KUBERNETES_BUILD.programs.make()

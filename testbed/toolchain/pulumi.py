"""Pulumi's environment: its programs, its plugin in the place where it looks for it, and where stacks' state lives."""

import os
from pathlib import Path

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
    programs = _programs()
    # Found on PATH instead, the provider would warn twice a run. Pulumi looks only at real directories.
    link = HOME / "plugins" / PLUGIN / PLUGIN_PROGRAM
    program = _plugin() / PLUGIN_PROGRAM
    if not (link.is_symlink() and link.readlink() == program):
        if link.parent.is_symlink():
            link.parent.unlink()
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(program)
    return programs[0]


def environment() -> dict[str, str]:
    """What ``pulumi`` needs in its environment, without the passphrase. Makes what is missing, like :func:`ensure`."""
    ensure()
    directories = dict.fromkeys(str(program.parent) for program in _programs())
    STACK_STATE.mkdir(parents=True, exist_ok=True)
    return {
        "PATH": ":".join([*directories, os.environ.get("PATH", os.defpath)]),
        "PULUMI_HOME": str(HOME),
        "PULUMI_BACKEND_URL": STACK_STATE.as_uri(),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }


def _programs() -> list[Path]:
    """The command and what must be on PATH with it: the language host of the same origin."""
    command = PULUMI.ensure()
    if command == PULUMI_BUILD.program(PULUMI.name).make():
        return [command, PULUMI_PYTHON_BUILD.program("pulumi-language-python").make()]
    return [command]


def _plugin() -> Path:
    """The provider's directory: the user's own when Pulumi has installed it before, else the one built here."""
    installed = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi") / "plugins" / PLUGIN
    if installed != HOME / "plugins" / PLUGIN and (installed / PLUGIN_PROGRAM).is_file():
        return installed
    return PULUMI_KUBERNETES_BUILD.programs.make()

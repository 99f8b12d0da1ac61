"""The bundle: the archives that Ansible installs on a submission host.

One archive holds the locked wheels of the gateway, the other holds the project's own wheel.
"""

import tarfile
from pathlib import Path

from release import content, wheels


def variables() -> dict[str, str]:
    """Build the archives and return the variables of the Ansible role ``gateway`` that name them.

    An archive's name changes with its content.
    """
    return {
        "gateway_packages_archive": str(_archive("packages", wheels.wheelhouse("gateway"))),
        "gateway_project_archive": str(_archive("project", wheels.project_wheel())),
    }


def _archive(kind: str, wheelhouse: content.Input) -> Path:
    key = content.digest(wheelhouse.key)
    name = f"dask-gateway-{kind}-{key}.tar"

    def make(directory: Path) -> None:
        with tarfile.open(directory / name, "w") as archive:
            archive.add(wheelhouse.make(), ".")

    return content.cached("bundle", key, make) / name

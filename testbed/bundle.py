"""What Ansible installs on a submission host: the gateway's locked wheels and the gateway's own, an archive each.

``python -m testbed.bundle`` makes them, for any site, and prints the options of ``ansible-playbook`` that name them.
"""

import sys
import tarfile
from pathlib import Path

from testbed import content, wheels


def variables() -> dict[str, str]:
    """The variables of the role ``gateway`` that name the archives; archives of another content have another name."""
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


if __name__ == "__main__":
    sys.stdout.write(" ".join(f"--extra-vars {name}={path}" for name, path in variables().items()) + "\n")

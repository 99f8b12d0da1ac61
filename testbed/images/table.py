"""Every image of the testbed, in one table."""

from pathlib import Path

from gateway.as_user import preflight
from testbed import content, wheels
from testbed.images import Image
from testbed.images.base import BASE
from testbed.images.kubernetes import COMPONENTS, COREDNS, NODE, PAUSE
from testbed.paths import ROOT

HERE = Path(__file__).resolve().parent

SERVER = Image(
    "server",
    ROOT / "gateway" / "Dockerfile.server",
    base=BASE,
    inputs={"wheels": wheels.wheelhouse("gateway"), "project": wheels.project_wheel()},
)
ENVIRONMENT = Image(
    "environment",
    ROOT / "gateway" / "Dockerfile.environment",
    base=BASE,
    inputs={
        name: content.source(ROOT / "gateway" / "as_user" / name)
        for name in ("preflight.py", "preload.py", *preflight.COMPANIONS)
    },
)
TRAEFIK = Image("traefik", HERE / "traefik" / "Dockerfile", base=BASE, inputs={"wheels": wheels.wheelhouse("traefik")})
HUB = Image(
    "hub",
    HERE / "hub" / "Dockerfile",
    base=BASE,
    inputs={
        "wheels": wheels.wheelhouse("hub"),
        "jupyterhub_config.py": content.source(HERE / "hub" / "jupyterhub_config.py"),
        "people_authenticator.py": content.source(HERE / "hub" / "people_authenticator.py"),
    },
)
NOTEBOOK = Image(
    "notebook", HERE / "notebook" / "Dockerfile", base=BASE, inputs={"wheels": wheels.wheelhouse("environment")}
)
DIRECTORY = Image(
    "directory",
    HERE / "directory" / "Dockerfile",
    base=BASE,
    inputs={"entrypoint": content.source(HERE / "directory" / "entrypoint")},
)
SLURM = Image(
    "slurm",
    HERE / "slurm" / "Dockerfile",
    base=BASE,
    inputs={name: content.source(HERE / "slurm" / name) for name in ("entrypoint", "database.sql")},
)
SUBMISSION = Image(
    "submission",
    HERE / "submission" / "Dockerfile",
    base=BASE,
    inputs={name: content.source(HERE / "submission" / name) for name in ("journald.conf", "ssh-host-keys.conf")},
)

IMAGES: dict[str, Image] = {
    image.name: image
    for image in (
        *(BASE, SERVER, ENVIRONMENT, TRAEFIK, HUB, NOTEBOOK, DIRECTORY, SLURM, SUBMISSION),
        *(COMPONENTS, COREDNS, PAUSE, NODE),
    )
}

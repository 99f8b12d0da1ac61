"""The images that the testbed's containers and pods run."""

from pathlib import Path

from release import content, images, wheels
from release.image import Image
from testbed.images.base import BASE
from testbed.images.kubernetes import COMPONENTS, COREDNS, NODE, PAUSE

HERE = Path(__file__).resolve().parent

SERVER = images.server(BASE)
ENVIRONMENT = images.environment(BASE)
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

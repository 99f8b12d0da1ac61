"""Every image of the testbed, in one table."""

from pathlib import Path

from testbed import content, wheels
from testbed.images import Image
from testbed.images.base import BASE
from testbed.paths import ROOT

HERE = Path(__file__).resolve().parent

SERVER = Image(
    "server",
    ROOT / "gateway" / "Dockerfile.server",
    base=BASE,
    inputs={"wheels": wheels.wheelhouse("gateway"), "project": wheels.project_wheel()},
)
ENVIRONMENT = Image("environment", ROOT / "gateway" / "Dockerfile.environment", base=BASE)
TRAEFIK = Image(
    "traefik", HERE / "traefik" / "Dockerfile", base=BASE, inputs={"wheels": wheels.wheelhouse("traefik")}
)

IMAGES: dict[str, Image] = {image.name: image for image in (BASE, SERVER, ENVIRONMENT, TRAEFIK)}

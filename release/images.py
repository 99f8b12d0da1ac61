"""The images that a gateway on Kubernetes runs, on any base image.

The third one, Traefik's, is upstream's.
"""

from collections.abc import Mapping

from release import content, process, wheels
from release.image import Base, Image
from release.paths import ROOT

DEFAULT_BASE = "debian:bookworm-slim"


def server(base: Base) -> Image:
    """Return the image of API server and controller."""
    return Image(
        "server",
        ROOT / "gateway" / "Dockerfile.server",
        base=base,
        inputs={"wheels": wheels.wheelhouse("gateway"), "project": wheels.project_wheel()},
    )


def environment(base: Base) -> Image:
    """Return the image of the pods in which users' environments run."""
    return Image(
        "environment",
        ROOT / "gateway" / "Dockerfile.environment",
        base=base,
        inputs={"as_user": content.source(ROOT / "gateway" / "as_user")},
    )


def build(base: Base, registry: str | None = None) -> Mapping[str, str]:
    """Build both images; with a registry, push them to it.

    ``registry`` is the prefix of the pushed references, for example ``registry.example/project``. Returns the keys of
    the site file's ``kubernetes.images`` with their references. Raises :class:`process.CommandError`.
    """
    built = {image.name: image.ensure() for image in (server(base), environment(base))}
    if registry is None:
        return built
    return {name: _push(reference, registry) for name, reference in built.items()}


def _push(reference: str, registry: str) -> str:
    name = reference.rpartition("/")[2]
    pushed = f"{registry.rstrip('/')}/dask-gateway-{name}"
    process.run(["docker", "tag", reference, pushed])
    process.run(["docker", "push", pushed])
    return pushed

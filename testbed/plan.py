"""The steps of the testbed, what each needs, and which of them ``make testbed`` and its relatives run."""

from collections.abc import Callable

from release.image import Image
from testbed import cluster, directory, docker, fake_nodes, front, hub, notebook, slurm, stack, storage, submission
from testbed.images import table
from testbed.images.base import BASE
from testbed.images.kubernetes import NODE
from testbed.steps import Step
from testbed.toolchain import debian, docker_engine, pulumi
from testbed.toolchain.programs import KWOK_BUILD


def _image(image: Image, *needs: str) -> Step:
    base = f"image-{BASE.name}" if image.base else "docker"
    return Step(f"image-{image.name}", image.ensure, (base, *needs))


def _step(name: str, run: Callable[[], object], *needs: str) -> Step:
    return Step(name, run, needs)


# Free workers take the steps in this order. The SLURM half's needs come first; the long Go builds run beside it.
STEPS: list[Step] = [
    _step("docker", docker_engine.ensure),
    _step("kubernetes-programs", cluster.ensure_programs),
    _step("network", docker.ensure_network, "docker"),
    _step("debootstrap", debian.ensure_debootstrap),
    _step("ssh", debian.ensure_ssh),
    _image(BASE, "debootstrap"),
    _image(table.ENVIRONMENT),
    _image(table.SLURM),
    _image(table.DIRECTORY),
    _image(table.SUBMISSION),
    _step("storage", storage.ensure_storage, "image-base"),
    _step("directory", directory.ensure_directory, "network", "image-directory"),
    _step("environments", storage.ensure_environments, "storage"),
    _step("slurm", slurm.ensure_slurm, "directory", "storage", "image-slurm"),
    _image(table.HUB),
    _step("hub", hub.ensure_hub, "network", "image-hub"),
    _step("submission", submission.ensure_submission, "slurm", "hub", "image-submission", "ssh"),
    _image(table.TRAEFIK),
    _step("front", front.ensure_front, "submission", "image-traefik"),
    _image(table.NOTEBOOK),
    _step("tokens", hub.ensure_tokens, "hub"),
    _step("notebook", notebook.ensure_notebook, "network", "storage", "directory", "image-notebook"),
    _image(table.SERVER),
    _step("pulumi-programs", pulumi.ensure, "kubernetes-programs"),
    _image(NODE, "kubernetes-programs"),
    _step("cluster", cluster.ensure_cluster, "network", "storage", "image-node"),
    # An interrupted load test may have left the real node tainted.
    _step("no-fake-nodes", fake_nodes.remove_leftovers, "cluster"),
    # The directory's step makes the certificate authority.
    _step("ingress", cluster.ensure_ingress, "no-fake-nodes", "image-traefik", "directory"),
    _step(
        "stack",
        stack.ensure_stack,
        *("ingress", "image-server", "image-environment", "pulumi-programs", "directory", "hub"),
    ),
    _step("load-programs", KWOK_BUILD.programs.make),
]

PARTS: dict[str, tuple[str, ...]] = {
    "all": tuple(step.name for step in STEPS if step.name not in ("front", "load-programs")),
    "toolchain": ("docker", "kubernetes-programs", "pulumi-programs"),
    "slurm": ("environments", "front", "tokens", "notebook"),
    "kubernetes": ("environments", "stack", "tokens", "notebook"),
    "load-programs": ("load-programs",),
}
"""What to bring up -> the steps that it consists of."""

"""Stock dask-gateway on the testbed's Kubernetes, in a namespace of its own."""

import contextlib
import json
import string
from collections.abc import Iterator
from pathlib import Path

import yaml

from gateway.site import Images, Site, load
from testbed import cluster, waiting
from testbed.bench.sides import Side, stock
from testbed.bench.stock import answers, configuration
from testbed.paths import SITE
from testbed.public_names import ADDRESS

NAMESPACE = "stock"
PORT = 18000
"""Port of the node's address for schedulers."""
MANIFEST = Path(__file__).with_name("kubernetes.yaml")
CLUSTER_WIDE = tuple(
    f"{kind}/{NAMESPACE}-{part}"
    for kind in ("clusterrole", "clusterrolebinding")
    for part in ("api", "controller", "traefik")
)
SECONDS_TO_ANSWER = 120
ANSWERS_IN_A_ROW = 5
"""Traefik answers 502 for a while after it is ready, so several answers in a row count."""


def manifest(site: Site, images: Images, prefix: str) -> str:
    """Return the manifests of all objects; clusters run the environment in the directory ``prefix``."""
    described = site.model_copy(update={"kubernetes": site.kubernetes.model_copy(update={"images": images})})
    return string.Template(MANIFEST.read_text()).substitute(
        namespace=NAMESPACE,
        # JSON strings are YAML strings.
        api_configuration=json.dumps(configuration.kubernetes_api(described, NAMESPACE, prefix)),
        controller_configuration=json.dumps(configuration.kubernetes_controller(NAMESPACE)),
        server_image=images.server,
        traefik_image=images.traefik,
        address=ADDRESS,
        port=PORT,
        ingress_class=site.kubernetes.ingress_class,
    )


@contextlib.contextmanager
def up(prefix: str) -> Iterator[Side]:
    """Run it while the context lasts."""
    site = load(SITE)
    address = f"http://{ADDRESS}"
    _remove()
    try:
        cluster.kubectl("apply", "--filename=-", standard_input=manifest(site, deployed_images(), prefix))
        for name in ("api", "controller", "traefik"):
            cluster.kubectl("--namespace", NAMESPACE, "rollout", "status", f"deployment/{name}", "--timeout=120s")
        waiting.until(
            f"stock's API answers at {address}",
            lambda: all(answers(address) for _ in range(ANSWERS_IN_A_ROW)),
            seconds=SECONDS_TO_ANSWER,
        )
        yield stock(address, f"{ADDRESS}:{PORT}")
    finally:
        _remove()


def deployed_images() -> Images:
    """Return the images of our own gateway as it runs now, so that both sides run the same."""
    gateway = load(SITE).kubernetes
    text = cluster.kubectl(
        *("--namespace", gateway.namespace, "get", "configmap", f"site-{gateway.release}"),
        *("--output", "jsonpath={.data.site\\.yaml}"),
    )
    # Read only the images: the deployed stack may be of another version than this clone.
    return Images.model_validate(yaml.safe_load(text)["kubernetes"]["images"])


def _remove() -> None:
    cluster.kubectl("delete", "--ignore-not-found", *CLUSTER_WIDE, f"namespace/{NAMESPACE}", "--timeout=120s")

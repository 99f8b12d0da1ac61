"""The testbed's Kubernetes cluster: one kind node that stands for Geddes, with CoreDNS and an ingress controller."""

import json
import string
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from gateway import site
from release import content, process
from release.image import image_id
from testbed import docker, front, processors
from testbed.certificates import certificate_authority
from testbed.images.kubernetes import COREDNS_TAG, ETCD_TAG
from testbed.images.kubernetes import NODE as NODE_IMAGE
from testbed.images.table import TRAEFIK
from testbed.paths import KUBECONFIG, SITE, STATE, STORAGE
from testbed.public_names import ADDRESS, public_names
from testbed.toolchain.programs import COREDNS_BUILD, KIND, KUBE_ROUTER_BUILD, KUBECTL, KUBERNETES_BUILD
from testbed.toolchain.pulumi import STACK_STATE

NAME = "af-testbed"
NODE = f"{NAME}-control-plane"
KIND_NETWORK = "kind"
QUOTA_SYNC_SECONDS = 10
"""How long Kubernetes refuses each DaskCluster after the CRD is new: it counts objects of a kind that a ResourceQuota
names when it next recalculates all quotas, by default after up to 5 minutes."""
STORAGE_IN_NODE = "/srv/storage"
RECORD = STATE / "cluster.json"
"""Which container was made from which configuration. kind can't label its node."""
INGRESS_MANIFEST = Path(__file__).resolve().parent / "ingress.yaml"


class ClusterError(Exception):
    """The cluster is not in the state that the next step needs."""


def configuration(storage: Iterable[Path], more_mounts: Iterable[Mapping[str, object]] = ()) -> dict[str, object]:
    """Return kind's cluster configuration, with each storage directory of this machine under ``/srv/storage``."""
    mounts = [
        # No propagation: nothing is mounted below, and a machine's root need not be a shared mount.
        {"hostPath": str(path), "containerPath": f"{STORAGE_IN_NODE}/{path.name}"}
        for path in sorted(storage)
    ]
    kubeadm = [
        {
            "kind": "ClusterConfiguration",
            "dns": {"imageTag": COREDNS_TAG},
            "etcd": {"local": {"imageTag": ETCD_TAG}},
            "controllerManager": {"extraArgs": {"resource-quota-sync-period": f"{QUOTA_SYNC_SECONDS}s"}},
        },
        # It must agree with SystemdCgroup in containerd.toml.
        {"kind": "KubeletConfiguration", "cgroupDriver": "cgroupfs"},
    ]
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        # The node image has a network configuration of its own: one node needs no daemon for it.
        "networking": {"disableDefaultCNI": True},
        "nodes": [{"role": "control-plane", "extraMounts": [*mounts, *more_mounts]}],
        "kubeadmConfigPatches": [yaml.safe_dump(patch) for patch in kubeadm],
    }


def ensure_programs() -> None:
    """Have kind, kubectl and the programs inside the node image. A node image from a registry needs no programs."""
    if NODE_IMAGE.override is None:
        for build in (KUBERNETES_BUILD, COREDNS_BUILD, KUBE_ROUTER_BUILD):
            build.programs.make()
    for program in (KIND, KUBECTL):
        program.ensure()


def ensure_cluster() -> None:
    """Have a healthy cluster of the current node image and configuration, connected to the testbed's network.

    A node that has stopped, is unhealthy or was made from another configuration is replaced. The state of the Pulumi
    stack, which describes that node, goes with it.
    """
    docker.ensure_network()
    wanted = configuration(_storage_directories(), processors.mounts())
    text = yaml.safe_dump(wanted)
    digest = content.digest(text, NODE_IMAGE.reference)
    if _matches(digest) and _healthy():
        process.say(f"{NODE} runs and is healthy")
    else:
        remove()
        _create(text)
        RECORD.write_text(json.dumps({"container": _container_id(), "digest": digest}))
    _connect()
    ensure_coredns()


def _storage_directories() -> list[Path]:
    """Return this machine's directories that stand for the site's shared storage; make those that are missing."""
    names = [
        Path(volume.kubernetes.path).name
        for volume in site.load(SITE).storage
        if isinstance(volume.kubernetes, site.HostPathSource)
    ]
    for name in names:
        (STORAGE / name).mkdir(parents=True, exist_ok=True)
    return [STORAGE / name for name in names]


def _container_id() -> str | None:
    """Return the id of the node's container when it runs."""
    try:
        text = process.capture(["docker", "container", "inspect", NODE])
    except process.CommandError:
        return None
    (details,) = json.loads(text)
    return str(details["Id"]) if details["State"]["Running"] else None


def _matches(digest: str) -> bool:
    """Return whether the running node was made from this configuration by this user's testbed."""
    try:
        record = json.loads(RECORD.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    return record == {"container": _container_id(), "digest": digest} and KUBECONFIG.is_file()


def _healthy(patience_seconds: float = 30) -> bool:
    """Return whether the API server is ready; wait for one that has just been restarted."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            kubectl("get", "--raw", "/readyz", timeout_seconds=5)
        except (process.CommandError, subprocess.TimeoutExpired):
            if time.monotonic() > deadline:
                return False
            time.sleep(1)
        else:
            return True


def _create(text: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as stream:
        stream.write(text)
        stream.flush()
        process.run(
            [
                *(KIND.ensure(), "create", "cluster", "--name", NAME, "--image", NODE_IMAGE.ensure()),
                *("--config", stream.name, "--kubeconfig", KUBECONFIG, "--wait", "180s"),
            ]
        )
    KUBECONFIG.chmod(0o600)


def _connect() -> None:
    """Give the node the public names and their address in the testbed's network."""
    (details,) = json.loads(process.capture(["docker", "container", "inspect", NODE]))
    names = public_names()
    leg = details["NetworkSettings"]["Networks"].get(docker.NETWORK)
    if leg and leg["IPAddress"] == ADDRESS and set(names).issubset(leg["Aliases"] or ()):
        return
    front.remove_front()
    if leg:
        process.run(["docker", "network", "disconnect", docker.NETWORK, NODE])
    aliases = [argument for name in names for argument in ("--alias", name)]
    process.run(["docker", "network", "connect", "--ip", ADDRESS, *aliases, docker.NETWORK, NODE])


def kubectl(*arguments: str, standard_input: str | None = None, timeout_seconds: float = 300) -> str:
    """Run kubectl on the testbed's cluster and return its output. Raises like :func:`process.capture`."""
    return process.capture(
        [KUBECTL.ensure(), "--kubeconfig", KUBECONFIG, *arguments],
        standard_input=standard_input,
        timeout_seconds=timeout_seconds,
    )


def ensure_images(references: Iterable[str]) -> None:
    """Copy images of the Docker engine to the node, under the same names, unless it has them."""
    present = docker.execute(NODE, ["ctr", "--namespace", "k8s.io", "images", "list"])
    for reference in references:
        identifier = image_id(reference)
        if identifier is None:
            raise ClusterError(
                f"the node needs the image {reference}, which the Docker engine does not have: build it first"
            )
        if has_image(present, reference, identifier):
            process.say(f"the node has {reference}")
        else:
            _load(reference)


def has_image(listing: str, reference: str, identifier: str) -> bool:
    """Return whether containerd's listing has a reference of this image id (``sha256:...``).

    The CRI plugin lists each image a second time under its id, with the same digest as under its names.
    """
    rows = [line.split() for line in listing.splitlines()[1:]]
    digests: Mapping[str, str] = {row[0]: row[2] for row in rows if len(row) > 2}
    digest = digests.get(canonical(reference))
    return digest is not None and digest in (digests.get(identifier), identifier)


def canonical(reference: str) -> str:
    """Return an image's full name, which containerd and Kubernetes use. Docker leaves out its default registry."""
    first, _, rest = reference.partition("/")
    if not rest:
        return f"docker.io/library/{reference}"
    return reference if "." in first or ":" in first or first == "localhost" else f"docker.io/{reference}"


def _load(reference: str) -> None:
    process.say(f"copying {reference} to the node")
    with (
        subprocess.Popen(["docker", "save", reference], stdout=subprocess.PIPE) as save,
        subprocess.Popen(
            [
                *("docker", "exec", "--interactive", NODE),
                *("ctr", "--namespace", "k8s.io", "images", "import", "--digests=false", "-"),
            ],
            stdin=save.stdout,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as load,
    ):
        output = load.communicate(timeout=600)[0]
        save.wait(timeout=60)
    if save.returncode or load.returncode:
        raise ClusterError(f"copying {reference} to the node failed:\n{output}")


def ensure_coredns() -> None:
    """Have one ready replica of CoreDNS, which is enough for one node. It resolves names outside of the cluster too."""
    kubectl("--namespace", "kube-system", "scale", "deployment", "coredns", "--replicas=1")
    _wait_for("kube-system", "coredns")


def ensure_ingress() -> None:
    """Have Traefik as the controller of ingress class ``public``, which Geddes' administrators run there."""
    described = site.load(SITE)
    gateway = described.kubernetes
    image = TRAEFIK.ensure()
    ensure_images([image])
    manifest = string.Template(INGRESS_MANIFEST.read_text()).substitute(
        namespace=gateway.ingress_namespace,
        ingress_class=gateway.ingress_class,
        image=canonical(image),
        address=ADDRESS,
        submission_host=described.slurm.submission_host,
        # JSON is YAML, on one line.
        authority=json.dumps(certificate_authority().read_text()),
    )
    applied = kubectl(
        *("apply", "--server-side", "--force-conflicts", "--field-manager=testbed", "--filename=-"),
        standard_input=manifest,
    )
    process.say(applied)
    _wait_for(gateway.ingress_namespace, "traefik")


def ensure_namespace(name: str) -> None:
    """Have a namespace, as JupyterHub's on Geddes: the stack declares objects in it, and not the namespace."""
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    kubectl("apply", "--server-side", "--filename=-", standard_input=json.dumps(manifest))


def _wait_for(namespace: str, deployment: str) -> None:
    process.say(
        kubectl("--namespace", namespace, "rollout", "status", f"deployment/{deployment}", "--timeout=120s").strip()
    )


def remove() -> None:
    """Delete the cluster with its kubeconfig, and the state of the stack that was deployed to it."""
    if process.succeeds(["docker", "container", "inspect", NODE]):
        process.run(["docker", "rm", "--force", "--volumes", NODE])
    # Docker refuses this while another kind cluster uses the network.
    process.succeeds(["docker", "network", "rm", KIND_NETWORK])
    for path in (RECORD, KUBECONFIG):
        path.unlink(missing_ok=True)
    process.run(["rm", "--recursive", "--force", STACK_STATE])

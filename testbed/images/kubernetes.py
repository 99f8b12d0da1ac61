"""The images of the Kubernetes half: kind's node, and the control plane's images inside it."""

from pathlib import Path

from release import content, process
from release.image import Image
from testbed.images.base import BASE
from testbed.toolchain import versions
from testbed.toolchain.programs import COREDNS_BUILD, KUBE_ROUTER_BUILD, KUBERNETES_BUILD

HERE = Path(__file__).resolve().parent

ETCD_TAG = f"{versions.ETCD}-0"
COREDNS_TAG = f"v{versions.COREDNS}"
NAMES = {
    "components": [
        *(f"kube-{name}:v{versions.KUBERNETES}" for name in ("apiserver", "controller-manager", "proxy", "scheduler")),
        f"etcd:{ETCD_TAG}",
    ],
    "coredns": [f"coredns/coredns:{COREDNS_TAG}"],
    "pause": ["pause:testbed"],
}
"""Image of ours -> the names under which a node runs it: kubeadm's, and containerd.toml's for pause."""


def archive(image: Image) -> content.Input:
    """Return a file that ``docker save`` writes for an image."""

    def save(directory: Path) -> None:
        process.run(["docker", "save", "--output", directory / "image.tar", image.ensure()])

    directory = content.cached_input("archives", image.reference.replace("/", "-").replace(":", "-"), save)
    return content.Input(directory.key, lambda: directory.make() / "image.tar")


def _names() -> content.Input:
    text = "".join(f"{image} registry.k8s.io/{name}\n" for image, names in NAMES.items() for name in names)

    def write(directory: Path) -> None:
        (directory / "names").write_text(text)

    directory = content.cached_input("node", content.digest(text), write)
    return content.Input(directory.key, lambda: directory.make() / "names")


TRIXIE_PIN = content.source(HERE / "node" / "trixie-pin")
COMPONENTS = Image(
    "components",
    HERE / "components" / "Dockerfile",
    base=BASE,
    inputs={
        "trixie-pin": TRIXIE_PIN,
        **{
            name: KUBERNETES_BUILD.program(name)
            for name in ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler")
        },
    },
)
COREDNS = Image("coredns", HERE / "coredns" / "Dockerfile", inputs={"coredns": COREDNS_BUILD.program("coredns")})
PAUSE = Image("pause", HERE / "pause" / "Dockerfile", base=BASE)
NODE = Image(
    "node",
    HERE / "node" / "Dockerfile",
    base=BASE,
    inputs={
        "trixie-pin": TRIXIE_PIN,
        **{name: KUBERNETES_BUILD.program(name) for name in ("kubeadm", "kubectl", "kubelet")},
        "kube-router": KUBE_ROUTER_BUILD.program("kube-router"),
        **{
            name: content.source(HERE / "node" / name)
            for name in (
                "containerd.conf",
                "containerd.toml",
                "entrypoint.py",
                "kube-router.service",
                "kubelet.service",
                "pods.conflist",
                "preload",
            )
        },
        **{f"archives/{image.name}.tar": archive(image) for image in (COMPONENTS, COREDNS, PAUSE)},
        "archives/names": _names(),
    },
)

"""The programs that run on this machine, and those that go into images."""

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path

from release import process
from testbed.toolchain import versions
from testbed.toolchain.go import GoBuild

KUBERNETES_BUILD = GoBuild(
    "kubernetes",
    duration="5 min",
    stamps={
        f"k8s.io/{package}.{variable}": value
        for package in ("component-base/version", "client-go/pkg/version")
        for variable, value in {
            "gitVersion": f"v{versions.KUBERNETES}",
            "gitMajor": versions.KUBERNETES.split(".")[0],
            "gitMinor": versions.KUBERNETES.split(".")[1],
        }.items()
    },
)
COREDNS_BUILD = GoBuild("coredns", duration="2 min 20 s")
KUBE_ROUTER_BUILD = GoBuild("kube-router", duration="2 min 10 s")
"""It enforces NetworkPolicies and does nothing else in the node."""
KIND_BUILD = GoBuild("kind", duration="30 s")
KWOK_STAGES = {
    "node-initialize.yaml": "node/fast",
    "node-heartbeat-with-lease.yaml": "node/heartbeat-with-lease",
    "pod-ready.yaml": "pod/fast",
    "pod-complete.yaml": "pod/fast",
    "pod-delete.yaml": "pod/fast",
}
"""File -> its place in the module. Stages say how fake nodes and pods change; kwok itself contains none."""
KWOK_BUILD = GoBuild(
    "kwok",
    duration="1 min 30 s",
    data_files={
        name: f"sigs.k8s.io/kwok//kustomize/stage/{directory}/{name}" for name, directory in KWOK_STAGES.items()
    },
)
"""For the load tests alone. It is never taken from PATH, because the stages must be of its version."""
PULUMI_BUILD = GoBuild(
    "pulumi",
    duration="4 min",
    stamps={"github.com/pulumi/pulumi/sdk/v3/go/common/version.Version": f"v{versions.PULUMI}"},
)
PULUMI_PYTHON_BUILD = GoBuild(
    "pulumi-language-python",
    duration="2 min",
    extra_programs={
        "pulumi-language-python-exec": "github.com/pulumi/pulumi/sdk/v3//python/cmd/pulumi-language-python-exec"
    },
)
_PROVIDER = "github.com/pulumi/pulumi-kubernetes/provider/v4"
PULUMI_KUBERNETES_BUILD = GoBuild(
    "pulumi-resource-kubernetes",
    duration="7 min",
    package=".",
    stamps={f"{_PROVIDER}/pkg/version.Version": versions.PULUMI_KUBERNETES},
    module_files={
        name: f"{_PROVIDER}//cmd/pulumi-resource-kubernetes/{name}"
        for name in ("schema.json", "terraform-mapping.json")
    },
)


@dataclass(frozen=True)
class Program:
    """A program of this machine."""

    name: str
    version_arguments: tuple[str, ...]
    """Arguments that make it print its version."""
    wanted: versions.Range
    build: GoBuild
    """Where it comes from when PATH has none that fits."""
    companions: tuple[str, ...] = ()
    """Programs that must stand beside the one of PATH for it to fit."""

    def ensure(self) -> Path:
        """Return the program's path; build it if PATH has none that fits."""
        return self.on_path or self.build.program(self.name).make()

    @functools.cached_property
    def on_path(self) -> Path | None:
        """Return the program of PATH when its version fits."""
        found = shutil.which(self.name)
        if found is None:
            return None
        path = Path(found)
        version = self._version(path)
        missing = [name for name in self.companions if not (path.parent / name).is_file()]
        if self.wanted.fits(version) and not missing:
            return path
        reason = f"has no {', '.join(missing)} beside it" if missing else f"has version {version}, not {self.wanted}"
        process.say(f"{path} is not used: it {reason}")
        return None

    def _version(self, path: Path) -> versions.Version | None:
        try:
            return versions.parse(process.capture([path, *self.version_arguments]))
        except process.CommandError:
            return None


KIND = Program("kind", ("version",), versions.KIND_COMMAND, KIND_BUILD)
KUBECTL = Program("kubectl", ("version", "--client"), versions.KUBECTL_COMMAND, KUBERNETES_BUILD)
PULUMI = Program(
    "pulumi",
    ("version",),
    versions.PULUMI_COMMAND,
    PULUMI_BUILD,
    companions=("pulumi-language-python", "pulumi-language-python-exec"),
)

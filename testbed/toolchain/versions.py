"""The versions of the toolchain in one table, and which versions of a machine's own programs fit."""

import re
from dataclasses import dataclass

Version = tuple[int, int, int]


def parse(text: str) -> Version | None:
    """Return the first version number in a program's output; a missing third part counts as 0."""
    found = re.search(r"(?<![\d.])v?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


@dataclass(frozen=True)
class Range:
    """Versions from ``minimum`` on, below ``below``."""

    minimum: Version
    below: Version

    def fits(self, version: Version | None) -> bool:
        """Return whether a version is in the range; an unknown one is not."""
        return version is not None and self.minimum <= version < self.below

    def __str__(self) -> str:
        return f"{_text(self.minimum)} or later, before {_text(self.below)}"


def _text(version: Version) -> str:
    return ".".join(str(part) for part in version)


# Versions that are built here. They must agree with testbed/toolchain/*/go.mod.
KUBERNETES = "1.34.4"
COREDNS = "1.14.7"
PULUMI = "3.259.0"
PULUMI_KUBERNETES = "4.25.0"
GO = "1.26.8"
"""The Go release that an older ``go`` command fetches as a module."""
ETCD = "3.5.16"
"""Version of trixie's package; kubeadm chooses etcd's flags by it."""

# Versions that are taken from PATH.
DOCKER_ENGINE = Range((24, 0, 0), (100, 0, 0))
"""bookworm's 20.10 can't start privileged containers where a capability is missing."""
GO_COMMAND = Range((1, 26, 0), (2, 0, 0))
"""What can build our modules by itself: their newest ``go`` line is 1.26."""
GO_COMMAND_WITH_TOOLCHAINS = Range((1, 21, 0), (2, 0, 0))
"""What can fetch :data:`GO` as a module; bookworm's 1.19 can't."""
KIND_COMMAND = Range((0, 30, 0), (1, 0, 0))
"""The first release for Kubernetes 1.34; trixie's 0.27 is older."""
KUBECTL_COMMAND = Range((1, 33, 0), (1, 36, 0))
"""One minor version around the cluster's, by Kubernetes' version skew policy."""
PULUMI_COMMAND = Range((3, 187, 0), (4, 0, 0))
"""From the language host's version on."""

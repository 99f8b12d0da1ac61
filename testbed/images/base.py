"""The base of all other images: Debian bookworm by debootstrap, from the machine's own package source."""

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from release import content, process
from release.image import Image

SUITE = "bookworm"
PACKAGES = ("ca-certificates", "iproute2", "procps", "python3", "python3-venv", "tini")
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
FALLBACK_MIRROR_FILE = Path("/etc/apt/sources.list")


def mirror() -> str:
    """Return the address of this machine's Debian archive. Raises ``RuntimeError`` when none is configured."""
    for path, pattern in ((SOURCES, r"^URIs:\s*(\S+)"), (FALLBACK_MIRROR_FILE, r"^deb\s+(?:\[.*?\]\s+)?(\S+)")):
        found = re.search(pattern, path.read_text(), re.MULTILINE) if path.is_file() else None
        if found:
            return found.group(1)
    raise RuntimeError(f"neither {SOURCES} nor {FALLBACK_MIRROR_FILE} names a Debian archive: add one")


@dataclass(frozen=True)
class BaseImage(Image):
    """An image that is imported from a debootstrap directory, without a Dockerfile."""

    @property
    def digest(self) -> str:
        """Hash of the suite and the packages."""
        return content.digest(SUITE, *PACKAGES)

    def _build(self) -> None:
        with tempfile.TemporaryDirectory(prefix="debootstrap-", ignore_cleanup_errors=True) as scratch:
            root = Path(scratch) / "root"
            process.run(["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, root, mirror()])
            for directory in ("var/cache/apt/archives", "var/lib/apt/lists"):
                shutil.rmtree(root / directory)
                (root / directory / "partial").mkdir(parents=True)
            archive = Path(scratch) / "root.tar"
            process.run(["tar", "--directory", root, "--create", "--file", archive, "."])
            process.run(["docker", "import", archive, self.reference])


BASE = BaseImage("base", Path(__file__))

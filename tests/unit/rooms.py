"""The rooms of the code, in the order in which imports may go: the one place that states it.

``docs/architecture.md`` and :mod:`tests.unit.test_architecture` take the rooms from here.
"""

from tests.unit.sources import ROOT, first_line

ORDER: tuple[tuple[str, ...], ...] = (
    ("gateway/as_user/", "gateway/site/"),
    ("gateway/errors", "gateway/settings", "gateway/client"),
    ("gateway/identity/",),
    ("gateway/request/",),
    ("gateway/service/",),
    ("gateway/kubernetes/", "gateway/slurm/"),
    ("infra/", "release/"),
    ("testbed/",),
    ("tests/",),
)
"""Levels from the bottom to the top. A module imports from its own level and from lower ones."""
APART: tuple[tuple[str, str], ...] = (
    ("gateway/kubernetes/", "gateway/slurm/"),
    ("gateway/kubernetes/api/", "gateway/kubernetes/controller/"),
)
"""Pairs of rooms that never import each other."""
_TOPS = ("gateway", "infra", "release", "testbed")
_PACKAGES = [ROOT / top for top in _TOPS if (ROOT / top).is_dir()]
_PACKAGES += [path.parent for path in (ROOT / "gateway").glob("*/**/__init__.py")]
ROOMS: dict[str, str] = {
    f"{package.relative_to(ROOT).as_posix()}/": first_line(package) for package in sorted(_PACKAGES)
}
"""Room -> its purpose: the first line of its package's docstring."""

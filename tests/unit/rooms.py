"""The rooms of the code, in the order in which imports may go: the one place that states it.

:mod:`tests.unit.test_architecture` reads it. The purpose of each room stands in its package's docstring.
"""

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

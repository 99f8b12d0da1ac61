"""Pixi projects and Conda environments: from the options to the environment's directory. Pure."""

import posixpath
import re

from gateway import storage
from gateway.errors import Refusal
from gateway.site import Backend, Site

DEFAULT_PIXI_ENVIRONMENT = "default"
PIXI_ENVIRONMENT_NAME = re.compile(r"[A-Za-z0-9_-]+")
FORBIDDEN_IN_PATHS = re.compile(r"[^A-Za-z0-9._/+@=,~-]")
"""Everything but characters that no shell, scheduler directive or pod argument gives a meaning."""


def prefix(*, pixi_project: str, pixi_env: str, conda_env: str, site: Site, backend: Backend, user_class: str) -> str:
    """The environment's directory (the one with ``bin/python``), by the layout of pixi or conda.

    Raises :class:`Refusal` for options that exclude each other, for none, and for paths that workers don't see.
    """
    if conda_env and (pixi_project or pixi_env != DEFAULT_PIXI_ENVIRONMENT):
        raise Refusal("conda_env can't be used together with pixi_project or pixi_env; give one or the other.")
    if conda_env:
        return _path("conda_env", conda_env, site, backend, user_class)
    if not pixi_project and pixi_env != DEFAULT_PIXI_ENVIRONMENT:
        raise Refusal(f"pixi_env={pixi_env!r} needs pixi_project: the directory with the project's pixi.toml.")
    if not pixi_project:
        raise Refusal(
            "No environment given; use pixi_project='/path/to/pixi/project' (the directory with pixi.toml)"
            " or conda_env='/path/to/conda/environment'."
        )
    if not PIXI_ENVIRONMENT_NAME.fullmatch(pixi_env):
        raise Refusal(f"pixi_env={pixi_env!r} is no name of a pixi environment (letters, digits, '-' and '_').")
    project = _path("pixi_project", pixi_project, site, backend, user_class)
    return posixpath.join(project, ".pixi", "envs", pixi_env)


def _path(option: str, path: str, site: Site, backend: Backend, user_class: str) -> str:
    bad = FORBIDDEN_IN_PATHS.search(path)
    if bad:
        raise Refusal(f"{option}={path!r} contains {bad.group()!r}; use a path without it.")
    return storage.checked_path(option, path, site, backend, user_class)

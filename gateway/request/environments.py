"""Find the directory of the Pixi or Conda environment that the options name. Pure."""

import posixpath
import re
from dataclasses import dataclass

from gateway.errors import Refusal
from gateway.request import storage
from gateway.site import Backend, Site

DEFAULT_PIXI_ENVIRONMENT = "default"
PATH_MAX, NAME_MAX = 4095, 255
"""The longest path, and the longest name in a path, that Linux opens (limits.h, without the final NUL)."""
PIXI_ENVIRONMENT_NAME = re.compile(r"[A-Za-z0-9_-]+")
FORBIDDEN_IN_PATHS = re.compile(r"[^A-Za-z0-9._/+@=,~-]")
"""Any character that may have a meaning in a shell, an sbatch directive or the arguments of a pod."""


@dataclass(frozen=True)
class Environment:
    """The Pixi or Conda environment in which scheduler and workers run."""

    option: str
    """The option that names it: ``pixi_project`` or ``conda_env``."""
    path: str
    """The normalised value of that option: the directory of the Pixi project or of the Conda environment."""
    name: str | None = None
    """The name of a Pixi environment within its project; None for a Conda environment."""

    @property
    def prefix(self) -> str:
        """Return the directory that holds ``bin/python``, by the layout of Pixi or Conda."""
        return self.path if self.name is None else posixpath.join(self.path, ".pixi", "envs", self.name)


def chosen(
    *, pixi_project: str, pixi_env: str, conda_env: str, site: Site, backend: Backend, user_class: str
) -> Environment:
    """Return the environment that the options name, or the site's default environment when they name none.

    Raises :class:`Refusal` for options that exclude each other, and for a path that workers don't see.
    """
    _check_lengths(pixi_project=pixi_project, pixi_env=pixi_env, conda_env=conda_env)
    if conda_env and (pixi_project or pixi_env != DEFAULT_PIXI_ENVIRONMENT):
        raise Refusal("conda_env can't be used together with pixi_project or pixi_env: give one or the other.")
    if not conda_env and not pixi_project:
        pixi_project, pixi_env, conda_env = _default(pixi_env, site, backend)
    if conda_env:
        return Environment("conda_env", _path("conda_env", conda_env, site, backend, user_class))
    if not PIXI_ENVIRONMENT_NAME.fullmatch(pixi_env):
        raise Refusal(f"pixi_env={pixi_env!r} is not a name of a Pixi environment: use letters, digits, '-' and '_'.")
    return Environment("pixi_project", _path("pixi_project", pixi_project, site, backend, user_class), pixi_env)


def _check_lengths(*, pixi_env: str, **paths: str) -> None:
    """Check that Linux can open the path of the interpreter. Raises :class:`Refusal`, without the long text."""
    # Each path that is made of an option is shorter than this.
    rest = len("/.pixi/envs//bin/python3") + NAME_MAX
    for option, text, most in (("pixi_env", pixi_env, NAME_MAX), *((*item, PATH_MAX - rest) for item in paths.items())):
        if len(text.encode(errors="replace")) > most:
            raise Refusal(f"{option} has {len(text)} characters, and may have {most} bytes: use a shorter one.")


def _default(pixi_env: str, site: Site, backend: Backend) -> tuple[str, str, str]:
    if pixi_env != DEFAULT_PIXI_ENVIRONMENT:
        raise Refusal(f"pixi_env={pixi_env!r} needs pixi_project: give the directory with the project's pixi.toml.")
    default = site.gateway(backend).default_environment
    if default is None:
        raise Refusal(
            "No environment given: use pixi_project='/path/to/pixi/project' (the directory with pixi.toml)"
            " or conda_env='/path/to/conda/environment'."
        )
    return default.pixi_project or "", default.pixi_env, default.conda_env or ""


def _path(option: str, path: str, site: Site, backend: Backend, user_class: str) -> str:
    bad = FORBIDDEN_IN_PATHS.search(path)
    if bad:
        raise Refusal(f"{option}={path!r} contains {bad.group()!r}: use a path without it.")
    return storage.checked_path(option, path, site, backend, user_class)

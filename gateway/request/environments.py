"""Find the directory of the Pixi or Conda environment that the options name. Pure."""

import posixpath
import re
from dataclasses import dataclass

from gateway.errors import Refusal
from gateway.request import storage
from gateway.site import Backend, Site

DEFAULT_PIXI_ENVIRONMENT = "default"
PIXI_ENVIRONMENT_NAME = re.compile(r"[A-Za-z0-9_-]+")
FORBIDDEN_IN_PATHS = re.compile(r"[^A-Za-z0-9._/+@=,~-]")
"""Any character that may have a meaning in a shell, an sbatch directive or the arguments of a pod."""
PATH_MAX, NAME_MAX = 4096, 255
"""Linux' bounds (limits.h) in bytes: of a path with its final NUL, and of a name in a path."""


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
    if conda_env and (pixi_project or pixi_env != DEFAULT_PIXI_ENVIRONMENT):
        raise Refusal("conda_env can't be used together with pixi_project or pixi_env: give one or the other.")
    if not conda_env and not pixi_project:
        pixi_project, pixi_env, conda_env = _default(pixi_env, site, backend)
    if conda_env:
        return Environment("conda_env", _path("conda_env", conda_env, site, backend, user_class))
    _check_lengths("pixi_env", pixi_env)
    if not PIXI_ENVIRONMENT_NAME.fullmatch(pixi_env):
        raise Refusal(f"pixi_env={pixi_env!r} is not a name of a Pixi environment: use letters, digits, '-' and '_'.")
    project = _path("pixi_project", pixi_project, site, backend, user_class)
    environment = Environment("pixi_project", project, pixi_env)
    _check_lengths("pixi_project with the path of the environment in it", environment.prefix)
    return environment


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
    _check_lengths(option, path)
    bad = FORBIDDEN_IN_PATHS.search(path)
    if bad:
        raise Refusal(f"{option}={path!r} contains {bad.group()!r}: use a path without it.")
    return storage.checked_path(option, path, site, backend, user_class)


def _check_lengths(option: str, path: str) -> None:
    """Raise :class:`Refusal` for a path or a name that is longer than Linux allows. The text does not repeat it."""
    length = len(_octets(path))
    if length >= PATH_MAX:
        raise Refusal(f"{option} is too long: a path has at most {PATH_MAX - 1} bytes, this one has {length}.")
    longest = max(map(len, _octets(path).split(b"/")))
    if longest > NAME_MAX:
        raise Refusal(f"{option} is too long: a name in a path has at most {NAME_MAX} bytes, one here has {longest}.")


def _octets(text: str) -> bytes:
    return text.encode(errors="surrogatepass")

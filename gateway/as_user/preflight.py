"""Where a cluster runs, as its user, before Dask: can it see and start its environment? Then start it.

One file, standard library only, for every Python since 3.8: the launcher on SLURM's submission host imports it, jobs
run a copy of it from the user's staging folder, pods the one in their image; and in the end it runs in the user's own
interpreter, where nothing of ours is installed. What it has to know is a plan, see :class:`Plan`.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

REFUSED = 78
"""Exit code of a refusal (EX_CONFIG, sysexits.h); nothing of Dask or Kubernetes ends with it."""
MODULES = ("dask", "distributed", "dask_gateway")
"""What scheduler and workers need of the environment."""
PROGRAMS = {"scheduler": "distributed.cli.dask_scheduler", "worker": "distributed.cli.dask_worker"}
"""The modules of ``dask scheduler`` and ``dask worker``; the command looks through all installed packages first."""
LATE = "aiohttp"
"""What a scheduler imports and does not use, a quarter of all imports: dask_gateway's client wants it, which comes with
dask_gateway's scheduler_preload (not reported upstream)."""
SPARE = "spare.py"
"""The file beside this one with the interpreter in reserve for a nanny's worker."""
WORKER_START = {"MALLOC_TRIM_THRESHOLD_": "65536", "PYTHONHASHSEED": "6640"}
"""What a nanny sets, if nothing else is configured, before it spawns a worker, for these are read at a start only
(``distributed.nanny.pre-spawn-environ`` in distributed.yaml, and ``Nanny.__init__``)."""
INTERPRETER_SECONDS = 20
IMPORT_SECONDS = 60
"""Bounds on what a file system that hangs may cost; usually a fraction of a second."""


class RefusedError(Exception):
    """The environment can't be used; the text is for its user."""


class Plan(NamedTuple):
    """What is to be checked and started."""

    option: str
    """The cluster option that names the environment: ``pixi_project`` or ``conda_env``."""
    path: str
    """What that option names: the project, or the environment itself."""
    prefix: str
    """The environment's directory."""
    name: str | None
    """Of a Pixi environment, within its project."""
    visible: list[str]
    """Paths of the volumes that the user's workers see."""
    markers: list[str]
    """Files that are there if the volumes are mounted."""
    workers: str
    """How messages call the workers, for example ``SLURM workers``."""
    advice: str
    """What to do about an environment that they don't see."""
    variables: str
    """File with the environment variables: ``NAME=VALUE`` each, NUL after each."""
    report: str | None = None
    """File for the reason of a refusal, where somebody waits for it; None where all was checked before."""
    scratch: str | None = None
    """Directory to make, for the user alone, as HOME; None where HOME is set already."""

    @property
    def python(self) -> str:
        """The environment's interpreter."""
        return os.path.join(self.prefix, "bin", "python")

    def encoded(self) -> str:
        """The plan as an argument or part of a request."""
        return json.dumps(self._asdict())


def decoded(text: str) -> Plan:
    """The plan of :meth:`Plan.encoded`. Raises ``TypeError`` or ``ValueError`` for another text."""
    return Plan(**json.loads(text))


def check(plan: Plan, variables: dict[str, str]) -> None:
    """See that the environment is there, readable and starts; quick. Raises :class:`RefusedError`."""
    check_markers(plan)
    _check_place(plan, plan.path)
    _check_directory(plan)
    if plan.name is not None:
        _check_project(plan)
    _check_place(plan, plan.prefix)
    _check_installed(plan)
    _check_interpreter(plan, variables)


def check_markers(plan: Plan) -> None:
    """See that all volumes are really mounted, where an empty directory could be in their place.

    Raises :class:`RefusedError`.
    """
    for marker in plan.markers:
        try:
            os.lstat(marker)
        except PermissionError:
            continue
        except OSError as error:
            raise RefusedError(
                f"The storage with {marker} is not mounted on the machine that was to run this cluster"
                f" ({error.strerror}). Try again; if it stays so, tell the administrators."
            ) from None


def _check_directory(plan: Plan) -> None:
    what = f"{plan.option}={plan.path!r}"
    try:
        mode = os.stat(plan.path).st_mode
    except PermissionError:
        raise RefusedError(f"{what} is not readable for you.") from None
    except OSError as error:
        raise RefusedError(f"{what} is not there, as {plan.workers} see it: {error.strerror}.") from None
    if not stat.S_ISDIR(mode):
        raise RefusedError(f"{what} is no directory; name the directory that it is in.")
    if not os.access(plan.path, os.R_OK | os.X_OK):
        raise RefusedError(f"{what} is not readable for you.")


def _check_place(plan: Plan, path: str) -> None:
    """Links may lead to where workers don't see anything, or see something else."""
    place = os.path.realpath(path)
    volumes = [os.path.realpath(volume) for volume in plan.visible]
    if not any(place == volume or place.startswith(f"{volume}/") for volume in volumes):
        raise RefusedError(
            f"{plan.option}={plan.path!r} leads to {place!r}, which is not visible to {plan.workers}; {plan.advice}"
        )


def _check_project(plan: Plan) -> None:
    if not any(os.path.isfile(os.path.join(plan.path, name)) for name in ("pixi.toml", "pyproject.toml")):
        raise RefusedError(f"pixi_project={plan.path!r} has no pixi.toml; name the directory that contains it.")


def _check_installed(plan: Plan) -> None:
    try:
        os.lstat(plan.python)
    except PermissionError:
        raise RefusedError(f"{plan.prefix} is not readable for you.") from None
    except OSError:
        pass
    else:
        return
    if plan.name is None:
        raise RefusedError(f"conda_env={plan.path!r} is no environment: it has no bin/python.")
    installed = ", ".join(_installed(plan.path)) or "none"
    option = "" if plan.name == "default" else f" --environment {plan.name}"
    raise RefusedError(
        f"The pixi environment {plan.name!r} is not installed in {plan.path} (installed: {installed})."
        f" Install it: pixi install --manifest-path {plan.path}{option}"
    )


def _installed(project: str) -> list[str]:
    environments = os.path.join(project, ".pixi", "envs")
    try:
        names = sorted(os.listdir(environments))
    except OSError:
        return []
    return [name for name in names if os.path.lexists(os.path.join(environments, name, "bin", "python"))]


def _check_interpreter(plan: Plan, variables: dict[str, str]) -> None:
    try:
        ended = subprocess.run(
            [plan.python, "-c", ""],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=INTERPRETER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RefusedError(f"{plan.python} did not start within {INTERPRETER_SECONDS} s; try again.") from None
    except OSError as error:
        raise RefusedError(f"{plan.python} can't be run: {error.strerror}.{_repair(plan)}") from None
    if ended.returncode != 0:
        raise RefusedError(f"{plan.python} does not start: {telling_line(ended.stderr)}{_repair(plan)}")


def telling_line(output: bytes) -> str:
    """The line of an error output that says what is wrong: the last that names an error, else the last one."""
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    naming = [line for line in lines if "error" in line.lower()]
    return (naming or lines or ["it says nothing"])[-1][:300]


def _repair(plan: Plan) -> str:
    return f" Install the environment again: pixi install --manifest-path {plan.path}" if plan.name else ""


def import_modules(plan: Plan) -> None:
    """Import what Dask needs, in the environment's own interpreter. Raises :class:`RefusedError`."""
    for module in MODULES:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise RefusedError(_broken(plan, module, error)) from None
            raise RefusedError(f"The environment {plan.prefix} lacks {module}. Add it: {_addition(plan)}") from None
        except Exception as error:  # noqa: BLE001 - whatever a user's package raises
            raise RefusedError(_broken(plan, module, error)) from None


def _broken(plan: Plan, module: str, error: BaseException) -> str:
    said = " ".join(str(error).split())[:300]
    return f"{module} can't be imported in {plan.prefix}: {type(error).__name__}: {said}"


def _addition(plan: Plan) -> str:
    if plan.name is None:
        return f"conda install --prefix {plan.prefix} --channel conda-forge dask-gateway"
    feature = "" if plan.name == "default" else f" --feature {plan.name}"
    return f"pixi add --manifest-path {plan.path}{feature} dask-gateway"


def check_imports(plan: Plan, variables: dict[str, str], program: str) -> None:
    """Import what Dask needs in a process of the environment's interpreter, by a copy of this file.

    Raises :class:`RefusedError`.
    """
    try:
        ended = subprocess.run(
            [plan.python, program, "imports", plan.encoded()],
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=IMPORT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RefusedError(f"{plan.prefix} did not import Dask within {IMPORT_SECONDS} s; try again.") from None
    if ended.returncode == REFUSED:
        raise RefusedError(ended.stdout.decode("utf-8", "replace"))
    if ended.returncode != 0:
        raise RefusedError(f"{plan.prefix} does not import Dask: {telling_line(ended.stderr)}")


def parsed(content: bytes) -> dict[str, str]:
    """Environment variables in the form of :attr:`Plan.variables`."""
    entries = (entry.partition(b"=") for entry in content.split(b"\0") if entry)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in entries}


def start(plan: Plan, role: str, arguments: list[str]) -> None:
    """Become the user's scheduler or worker; a scheduler whose reasons are read only after all checks.

    Raises :class:`RefusedError`. What this process has in its own environment is the gateway's and the machine's; the
    user's variables come on top.
    """
    with open(plan.variables, "rb") as stream:
        variables = {**os.environ, **parsed(stream.read())}
    if plan.scratch is not None:
        _make_private(plan.scratch)
        variables["HOME"] = plan.scratch
        variables.setdefault("DASK_TEMPORARY_DIRECTORY", plan.scratch)
    if role == "scheduler" and plan.report is not None:
        check(plan, variables)
    else:
        check_markers(plan)
    if role == "worker":
        variables = {**WORKER_START, **variables}
    command = [plan.python, os.path.abspath(__file__), "serve", plan.encoded(), role, *arguments]
    try:
        os.execve(plan.python, command, variables)  # noqa: S606 - no shell, on purpose
    except OSError as error:
        raise RefusedError(f"{plan.python} can't be run: {error.strerror}.") from None


def _make_private(directory: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise RefusedError(f"{directory} on {os.uname().nodename} belongs to somebody else; tell the administrators.")


def serve(plan: Plan, role: str, arguments: list[str]) -> None:
    """Run Dask's scheduler or worker in this interpreter, which is the environment's.

    Raises :class:`RefusedError` when the environment lacks something. Imported once, for the check and for Dask itself.
    """
    _leave_own_directory()
    sys.path.insert(0, os.path.join(plan.prefix, "bin"))
    with quick_imports():
        if role == "scheduler":
            import_late(LATE)
            import_modules(plan)
        program = importlib.import_module(PROGRAMS[role])
    if role == "worker":
        _keep_spare_interpreter()
    sys.argv = ["dask", role, *arguments]
    program.main(arguments, prog_name=f"dask {role}")


def _keep_spare_interpreter() -> None:
    """Have the worker, which the nanny in this process will spawn, ready without importing all of this again."""
    path = os.path.join(_own_directory(), SPARE)
    spare: Any = ModuleType(SPARE)
    # Not imported: many workers at once would cache it in the cluster's folder, which may be about to go.
    with open(path, "rb") as source:
        exec(compile(source.read(), path, "exec"), spare.__dict__)  # noqa: S102 - beside this file
    started_with = spare.read_at_start()
    for name, value in WORKER_START.items():
        if os.environ.get(name) == value:
            # The nanny looks itself what is configured; what is in the environment would count for more.
            del os.environ[name]
    spare.keep_ready(started_with)


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Import Dask in five sixths of the time.

    Without looking for garbage, of which imports make little, and with libyaml, if PyYAML has it: Dask's defaults
    are in YAML files (not reported upstream). Both only meanwhile: what users do has what they expect.
    """
    gc.disable()
    try:
        with _libyaml():
            yield
    finally:
        gc.enable()


@contextlib.contextmanager
def _libyaml() -> Iterator[None]:
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError:
        # Dask will tell.
        yaml = SimpleNamespace(SafeLoader=None)
    pure = yaml.SafeLoader
    yaml.SafeLoader = getattr(yaml, "CSafeLoader", pure)
    try:
        yield
    finally:
        yaml.SafeLoader = pure


class LateModule(ModuleType):
    """A module that is executed when something of it is first asked for.

    The standard library's ``LazyLoader`` does it at the next import statement already.
    """

    _lock = threading.RLock()
    _is_loading = False

    def __init__(self, spec: Any) -> None:
        super().__init__(spec.name)
        self.__spec__, self.__loader__, self.__file__ = spec, spec.loader, spec.origin
        # Not __path__: whoever imports a part of the package asks for it, and gets the whole.
        self.__package__ = spec.name

    def __getattr__(self, name: str) -> Any:
        """What the module has under a name that it did not have before."""
        with LateModule._lock:
            if isinstance(self, LateModule):
                self._load(name)
        return getattr(self, name)

    def _load(self, name: str) -> None:
        if self._is_loading:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} yet")
        self._is_loading = True
        try:
            spec: Any = self.__spec__
            self.__path__ = spec.submodule_search_locations
            spec.loader.exec_module(self)
            self.__class__ = ModuleType  # type: ignore[assignment] # less than it was
        finally:
            del self._is_loading


def import_late(package: str) -> None:
    """Have a package executed when something of it is first asked for; nothing, if it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is not None and package not in sys.modules:
        sys.modules[package] = LateModule(spec)


def _own_directory() -> str:
    return os.path.dirname(os.path.abspath(__file__))


def _leave_own_directory() -> None:
    """Import nothing from beside this file."""
    if sys.path[0] == _own_directory():
        del sys.path[0]


def main(arguments: list[str]) -> int:
    """``start PLAN ROLE ARGUMENT...``, ``serve PLAN ROLE ARGUMENT...`` or ``imports PLAN``; returns the exit code."""
    action, encoded, *rest = arguments
    plan = decoded(encoded)
    try:
        if action == "imports":
            _leave_own_directory()
            import_modules(plan)
        else:
            {"start": start, "serve": serve}[action](plan, rest[0], rest[1:])
    except RefusedError as refusal:
        _report(plan, action, str(refusal))
        return REFUSED
    return 0


def _report(plan: Plan, action: str, text: str) -> None:
    content = text.encode("utf-8", "backslashreplace")
    stream = sys.stdout if action == "imports" else sys.stderr
    stream.buffer.write(content)
    stream.flush()
    if plan.report is not None:
        with open(plan.report, "wb") as report:
            report.write(content)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
elif __name__ == "__mp_main__":
    # The worker that a nanny starts: multiprocessing runs the program again, under this name.
    with quick_imports():
        importlib.import_module(PROGRAMS["worker"])
    # Processes that tasks start are none.
    del __file__

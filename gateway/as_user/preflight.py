"""Check that a cluster's user can see and start the environment, then start Dask in it.

Jobs run a copy from the cluster folder, and pods run the copy in their image. An interpreter of the machine runs the
checks; each start ends in the user's own interpreter, where the package :mod:`gateway` is not installed. So this file
uses the standard library only, runs on Python >= 3.8, and loads its :data:`COMPANIONS` from beside itself. Its input is
a :class:`Plan`.
"""

from __future__ import annotations

import importlib
import json
import os
import stat
import subprocess
import sys
from types import ModuleType
from typing import Any, NamedTuple

REFUSED = 78
"""Exit code of a refusal (EX_CONFIG of sysexits.h); neither Dask nor Kubernetes uses it."""
MODULES = ("dask", "distributed", "dask_gateway")
"""Modules that scheduler and workers need of the environment."""
PROGRAMS = {"scheduler": "distributed.cli.dask_scheduler", "worker": "distributed.cli.dask_worker"}
"""The modules of ``dask scheduler`` and ``dask worker``, by role; the command ``dask`` itself searches all installed
packages first."""
LATE = ("aiohttp", "numpy")
"""Packages that a scheduler imports and may never use, a third of all imports: dask_gateway's client imports aiohttp,
and its scheduler_preload the client; distributed imports numpy (not reported upstream)."""
IMPORTS, SPARE, DASHBOARD, GUARD = "imports.py", "spare.py", "dashboard.py", "dashboard_guard.py"
SCRATCH, REFUSALS = "scratch.py", "refusals.py"
COMPANIONS: tuple[str, ...] = (IMPORTS, SPARE, DASHBOARD, GUARD, SCRATCH, REFUSALS)
"""The files that must lie beside this one: faster imports, the spare interpreter for a nanny's worker, the dashboard
that a scheduler imports late and guards, the private directory of a job, and the way of a refusal to the gateway."""
WORKER_START = {
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "6640",
}
"""Variables that a nanny sets by default before it spawns a worker, because programs and numpy's libraries read them at
their start only (``distributed.nanny.pre-spawn-environ`` in distributed.yaml, and ``Nanny.__init__``). They also keep
numpy, which distributed imports, from starting threads in the nanny: a process with threads makes no spare one."""
INTERPRETER_SECONDS = 20
"""Timeout of an interpreter's start, for a file system that hangs; it usually takes a fraction of a second."""


class RefusedError(Exception):
    """The environment can't be used; the text is for the user."""


class Plan(NamedTuple):
    """The input of the preflight: the environment to check, and where to start Dask in it."""

    option: str
    """The cluster option that names the environment: ``pixi_project`` or ``conda_env``."""
    path: str
    """The value of that option: the project, or the Conda environment itself."""
    prefix: str
    """The environment's directory."""
    name: str | None
    """Name of a Pixi environment in its project; None for a Conda environment."""
    visible: list[str]
    """Paths of the volumes that the user's workers see."""
    markers: list[str]
    """The volumes' markers: a volume whose marker is missing is not mounted."""
    workers: str
    """How messages call the workers, for example ``SLURM workers``."""
    advice: str
    """The end of the message about an environment that the workers don't see: what the user can do."""
    variables: str
    """File with the user's environment variables: ``NAME=VALUE`` each, NUL after each."""
    report: str | None = None
    """File for the reason of a refusal, which the kubelet reads; None where a scheduler posts it to the gateway."""
    scratch: str | None = None
    """First part of the name of the private directory that each start creates in its job's TMPDIR as the user's HOME;
    None where HOME is already set."""

    @property
    def python(self) -> str:
        """Return the path of the environment's interpreter."""
        return os.path.join(self.prefix, "bin", "python")

    def encoded(self) -> str:
        """Return the plan as text, for an argument or a request."""
        return json.dumps(self._asdict())


def decoded(text: str) -> Plan:
    """Return the plan that :meth:`Plan.encoded` made a text of; other texts raise ``TypeError`` or ``ValueError``."""
    return Plan(**json.loads(text))


def check(plan: Plan, variables: dict[str, str]) -> None:
    """Check quickly that the environment exists, that the user can read it, and that its interpreter starts.

    Raises :class:`RefusedError`.
    """
    check_markers(plan)
    _check_place(plan, plan.path)
    _check_directory(plan)
    if plan.name is not None:
        _check_project(plan)
    _check_place(plan, plan.prefix)
    _check_installed(plan)
    _check_interpreter(plan, variables)


def check_markers(plan: Plan) -> None:
    """Check by their markers that all volumes are mounted, because an unmounted volume looks like an empty directory.

    A marker that the user may not read counts as present. Raises :class:`RefusedError`.
    """
    for marker in plan.markers:
        try:
            os.lstat(marker)
        except PermissionError:
            continue
        except OSError as error:
            raise RefusedError(
                f"The storage with {marker} is not mounted on the machine that was to run this cluster"
                f" ({error.strerror}). Try again; if the error stays, tell the administrators."
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
        raise RefusedError(f"{what} is not a directory: name the directory that contains it.")
    if not os.access(plan.path, os.R_OK | os.X_OK):
        raise RefusedError(f"{what} is not readable for you.")


def _check_place(plan: Plan, path: str) -> None:
    """Refuse a path whose links lead off the visible volumes: there, workers see nothing, or something else."""
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
        raise RefusedError(f"conda_env={plan.path!r} is not a Conda environment: it has no bin/python.")
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
    """Return the line of an error output that tells the cause: the last line with "error", else the last line.

    At most 300 characters.
    """
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    naming = [line for line in lines if "error" in line.lower()]
    return (naming or lines or ["it printed nothing"])[-1][:300]


def _repair(plan: Plan) -> str:
    return f" Install the environment again: pixi install --manifest-path {plan.path}" if plan.name else ""


def import_modules(plan: Plan) -> None:
    """Import :data:`MODULES` in this interpreter, which is the environment's. Raises :class:`RefusedError`."""
    for module in MODULES:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise RefusedError(_broken(plan, module, error)) from None
            raise RefusedError(f"The environment {plan.prefix} lacks {module}. Add it: {_addition(plan)}") from None
        except Exception as error:  # noqa: BLE001 - a user's package may raise anything
            raise RefusedError(_broken(plan, module, error)) from None


def _broken(plan: Plan, module: str, error: BaseException) -> str:
    said = " ".join(str(error).split())[:300]
    return f"{module} can't be imported in {plan.prefix}: {type(error).__name__}: {said}"


def _addition(plan: Plan) -> str:
    if plan.name is None:
        return f"conda install --prefix {plan.prefix} --channel conda-forge dask-gateway"
    feature = "" if plan.name == "default" else f" --feature {plan.name}"
    return f"pixi add --manifest-path {plan.path}{feature} dask-gateway"


def parsed(content: bytes) -> dict[str, str]:
    """Return the environment variables of a content in the form of :attr:`Plan.variables`."""
    entries = (entry.partition(b"=") for entry in content.split(b"\0") if entry)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in entries}


def start(plan: Plan, role: str, arguments: list[str]) -> None:
    """Become the user's scheduler or worker: replace this process by ``serve`` in the environment's interpreter.

    A scheduler runs all checks first, a worker checks the markers only. The user's variables override those of this
    process, which come from the gateway and the machine. Raises :class:`RefusedError`.
    """
    variables = _variables(plan)
    if plan.scratch is not None:
        plan = plan._replace(scratch=_make_private(plan.scratch))
        variables["HOME"] = str(plan.scratch)
        variables.setdefault("DASK_TEMPORARY_DIRECTORY", str(plan.scratch))
    try:
        _become(plan, role, arguments, variables)
    except RefusedError:
        if plan.scratch is not None:
            _companion(SCRATCH).remove(plan.scratch)
        raise


def _become(plan: Plan, role: str, arguments: list[str], variables: dict[str, str]) -> None:
    if role == "scheduler":
        check(plan, variables)
    else:
        check_markers(plan)
        variables = {**WORKER_START, **variables}
    command = [plan.python, os.path.abspath(__file__), "serve", plan.encoded(), role, *arguments]
    try:
        os.execve(plan.python, command, variables)  # noqa: S606 - without a shell on purpose
    except OSError as error:
        raise RefusedError(f"{plan.python} can't be run: {error.strerror}.") from None


def _variables(plan: Plan) -> dict[str, str]:
    """Return the variables of this process with the user's, and the gateway's, on top."""
    with open(plan.variables, "rb") as stream:
        return {**os.environ, **parsed(stream.read())}


def _make_private(name: str) -> str:
    try:
        return str(_companion(SCRATCH).make(name))
    except OSError as error:
        raise RefusedError(
            f"{error.filename} can't be made on {os.uname().nodename}: {error.strerror}."
            " Try again; if the error stays, tell the administrators."
        ) from None


def serve(plan: Plan, role: str, arguments: list[str]) -> None:
    """Run Dask's scheduler or worker in this interpreter, which is the environment's.

    One import of Dask serves both the check and Dask itself. Raises :class:`RefusedError` when the environment lacks a
    module.
    """
    if plan.scratch is not None:
        _companion(SCRATCH).remove_at_exit(plan.scratch)
    _leave_own_directory()
    sys.path.insert(0, os.path.join(plan.prefix, "bin"))
    imports = _companion(IMPORTS)
    with imports.quick_imports():
        if role == "scheduler":
            for package in LATE:
                imports.import_late(package)
            import_modules(plan)
            imports.allocate_without_numpy()
            _companion(DASHBOARD).import_late()
            _companion(GUARD).install()
        program = importlib.import_module(PROGRAMS[role])
    if role == "worker":
        _keep_spare_interpreter()
    sys.argv = ["dask", role, *arguments]
    program.main(arguments, prog_name=f"dask {role}")


def _keep_spare_interpreter() -> None:
    """Fork a process for the first worker of this nanny, so that the worker does not import Dask again."""
    spare = _companion(SPARE)
    started_with = spare.read_at_start()
    for name, value in WORKER_START.items():
        if os.environ.get(name) == value:
            # The nanny sets it from its own configuration, and a variable of the environment would override that.
            del os.environ[name]
    spare.keep_ready(started_with)


def _companion(name: str) -> Any:
    """Return the module of a file beside this one, executed.

    An import would write ``__pycache__``: many workers at once, into a cluster folder that may be about to be deleted.
    """
    path = os.path.join(_own_directory(), name)
    module = ModuleType(name)
    with open(path, "rb") as source:
        exec(compile(source.read(), path, "exec"), module.__dict__)  # noqa: S102 - a file of the gateway
    return module


def _own_directory() -> str:
    return os.path.dirname(os.path.abspath(__file__))


def _leave_own_directory() -> None:
    """Remove this file's directory from the import path, so that no file beside this one hides a user's module."""
    if sys.path[0] == _own_directory():
        del sys.path[0]


def main(arguments: list[str]) -> int:
    """Run an action and return the exit code, 0 or :data:`REFUSED`.

    The arguments are ``start PLAN ROLE ARGUMENT...`` or ``serve PLAN ROLE ARGUMENT...``.
    """
    action, encoded, role, *rest = arguments
    plan = decoded(encoded)
    try:
        {"start": start, "serve": serve}[action](plan, role, rest)
    except RefusedError as refusal:
        _report(plan, role, str(refusal))
        return REFUSED
    return 0


def _report(plan: Plan, role: str, text: str) -> None:
    content = text.encode("utf-8", "backslashreplace")
    sys.stderr.buffer.write(content)
    sys.stderr.flush()
    if plan.report is not None:
        with open(plan.report, "wb") as report:
            report.write(content)
    elif role == "scheduler":
        _companion(REFUSALS).post(_variables(plan), text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
elif __name__ == "__mp_main__":
    # The worker that a nanny spawns: multiprocessing runs the nanny's program again, under this name.
    with _companion(IMPORTS).quick_imports():
        importlib.import_module(PROGRAMS["worker"])
    # Without __file__, processes that tasks spawn don't run this file again.
    del __file__

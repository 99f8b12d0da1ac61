"""Each file of gateway/as_user runs in a user's interpreter: standard library only, Python >= 3.8."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.as_user import preflight
from tests.unit import fake_environments
from tests.unit.as_user.programs import PROGRAM, SYSTEM

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((ROOT / "gateway" / "as_user").glob("*.py"))
OF_THE_ENVIRONMENT = {"distributed", "distributed.http.utils", "tornado", "yaml"}
"""Packages that a function may import, because its caller runs in an environment with Dask."""
NEWER_MODULES = {"graphlib", "tomllib", "zoneinfo"}
"""Modules of the standard library that Python 3.8 lacks."""
NEWER_NAMES = {
    *("removeprefix", "removesuffix", "bit_count", "is_relative_to", "with_stem", "hardlink_to"),  # methods
    *("aiter", "anext", "BaseExceptionGroup", "ExceptionGroup", "EncodingWarning"),  # builtins
    *("to_thread", "TaskGroup", "timeout_at", "aclosing", "chdir", "cache", "pairwise", "batched", "lcm"),  # functions
    *("pidfd_open", "waitstatus_to_exitcode", "process_cpu_count", "stdlib_module_names", "orig_argv"),  # os, sys
    *("Annotated", "ParamSpec", "TypeAlias", "TypeGuard", "Self", "Never", "override", "StrEnum"),  # typing, enum
}
"""Names of the standard library that Python 3.8 lacks and that one of the files could come to use."""
NEWER_ARGUMENTS = {"strict", "slots", "kw_only", "process_group", "root_dir", "delete_on_close"}
"""Arguments in the standard library that Python 3.8 lacks, likewise."""

by_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


def imported(nodes):
    """Yield the top-level packages of import statements, and "." for a relative import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0] if node.level == 0 else "."


def imported_by_name(nodes):
    """Yield the packages that calls of ``importlib.import_module`` name by a literal."""
    for node in nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (argument.value for argument in node.args if isinstance(argument, ast.Constant))


def in_functions(tree):
    """Return the nodes of function bodies, which an import of the file does not execute."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {inner for function in functions for statement in function.body for inner in ast.walk(statement)}


def test_all_files_are_seen():
    assert {path.name for path in FILES} == {"__init__.py", "preflight.py", "preload.py", *preflight.COMPANIONS}


@by_file
def test_a_file_imports_the_standard_library_or_what_the_environment_has_by_then(path):
    tree = ast.parse(path.read_text())
    late = in_functions(tree)
    early = set(ast.walk(tree)) - late
    standard = sys.stdlib_module_names - NEWER_MODULES
    assert set(imported(early)) | set(imported_by_name(early)) <= standard
    assert set(imported(late)) | set(imported_by_name(late)) <= standard | OF_THE_ENVIRONMENT


@by_file
def test_a_file_has_the_syntax_and_names_of_the_oldest_python(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    nodes = list(ast.walk(tree))
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    used |= {node.id for node in nodes if isinstance(node, ast.Name)}
    used |= {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert not used & NEWER_NAMES
    assert not {node.arg for node in nodes if isinstance(node, ast.keyword)} & NEWER_ARGUMENTS


@by_file
def test_the_oldest_python_evaluates_a_files_annotations(path):
    """Ruff finds newer syntax (E9), and annotations such as ``list[str]`` at which Python 3.8 fails (FA102)."""
    command = ["ruff", "check", "--isolated", "--no-cache", "--target-version=py38", "--select=E9,FA102", str(path)]
    ended = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def oldest_python():
    """Return an interpreter of the oldest Python from 3.8 on this machine; None where the tests' own is the oldest."""
    for minor in range(8, sys.version_info.minor):
        versions = sorted(Path("~/.pyenv/versions").expanduser().glob(f"3.{minor}.*/bin/python"))
        found = [shutil.which(f"python3.{minor}", path="/usr/local/bin:/usr/bin:/bin"), *map(str, versions)]
        working = [python for python in found if python is not None]
        if working:
            return working[0]
    return None


def test_a_worker_of_an_older_python_starts(tmp_path):
    python = oldest_python()
    if python is None:
        pytest.skip("this machine has no Python that is older than the tests' own")
    environment = fake_environments.complete(tmp_path.resolve() / "environment", python=python)
    (tmp_path / "variables").write_bytes(os.fsencode(f"RECORD={tmp_path}/record\0"))
    for role in ("scheduler", "worker"):
        plan = fake_environments.plan(environment, environment, variables=str(tmp_path / "variables"))
        plan = plan._replace(report=str(tmp_path / "report"))
        command = [python, "-IS", str(PROGRAM), "start", plan.encoded(), role, "--name", "1"]
        ended = subprocess.run(command, env=SYSTEM, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        assert json.loads((tmp_path / "record").read_text())["argv"] == [role, "--name", "1"]


def test_the_gateways_import_the_preload_without_tornado():
    preload = PROGRAM.with_name("preload.py")
    code = f"import sys; sys.modules['tornado'] = None; exec(open({os.fspath(preload)!r}).read())"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

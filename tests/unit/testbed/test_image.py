"""Test that a gateway runs only what is installed before, from locked versions; it fetches nothing while it serves."""

import ast
import importlib.metadata
import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
SOURCES = sorted((ROOT / "gateway").rglob("*.py"))


def imported(path):
    """Yield the top-level modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.weakness(7)
def test_all_that_is_imported_is_locked_with_its_hash():
    text = (ROOT / "requirements" / "gateway.txt").read_text()
    locked = {
        normalised(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==\S+ \\\n +--hash=sha256:", text, re.MULTILINE)
    }
    # These run in the user's scheduler, whose environment has distributed.
    ours = [path for path in SOURCES if path.name not in ("dashboard.py", "dashboard_guard.py", "preload.py")]
    modules = {module for path in ours for module in imported(path)} - sys.stdlib_module_names - {"gateway"}
    assert {"dask_gateway_server", "ldap3"} <= modules
    distributions = importlib.metadata.packages_distributions()
    assert {module for module in modules if not locked & {normalised(name) for name in distributions[module]}} == set()


@pytest.mark.weakness(7)
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_installed_at_run_time(path):
    assert not {"pip", "ensurepip", "pkg_resources", "setuptools"} & set(imported(path))
    words = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
    assert not {"pip", "pip3", "ensurepip"} & words


@pytest.mark.weakness(9, 31)
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_shell_is_started(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            assert not {keyword.arg for keyword in node.keywords} & {"shell", "preexec_fn"}
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"system", "popen", "getoutput", "create_subprocess_shell"}


@pytest.mark.weakness(10)
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_process_gets_variables_of_its_own(path):
    starting = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"run", "Popen", "create_subprocess_exec", "check_output", "call"}
        and isinstance(node.func.value, ast.Name | ast.Attribute)
        and ast.unparse(node.func.value) in {"subprocess", "asyncio"}
        and ast.unparse(node.func) != "asyncio.run"
    ]
    for node in starting:
        assert "env" in {keyword.arg for keyword in node.keywords}, ast.unparse(node)


def ansible_tasks():
    for path in sorted((ROOT / "ansible" / "roles").glob("*/*/*.yml")):
        found = yaml.safe_load(path.read_text())
        yield from ((path, task) for task in found if isinstance(task, dict)) if isinstance(found, list) else ()


@pytest.mark.weakness(13)
def test_the_hosts_preparation_fails_closed():
    tasks = list(ansible_tasks())
    assert len(tasks) > 20
    for path, task in tasks:
        assert "ignore_errors" not in task, path
        assert not re.search(r"\|\|\s*true", yaml.safe_dump(task)), path

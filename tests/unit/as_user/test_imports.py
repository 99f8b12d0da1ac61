"""Imports of Dask are faster, and leave the interpreter as they found it."""

import contextlib
import gc
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.as_user import imports

LATE_PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from gateway.as_user.imports import import_late
import_late("late")
import late
from concurrent.futures import ThreadPoolExecutor
print("before:", "late.part" in sys.modules, late.__spec__.name, late.__file__)
"""


@pytest.fixture
def late(tmp_path):
    """Run code after a late import of a package with that content; return the output."""

    def run(code, content="import time; time.sleep(0.3)\nfrom late.part import VALUE\nfrom late import part\n"):
        package = tmp_path / "late"
        package.mkdir()
        (package / "__init__.py").write_text(content)
        (package / "part.py").write_text("VALUE = 1")
        (package / "other.py").write_text("import late\nOTHER = late.VALUE")
        ended = subprocess.run(
            [sys.executable, "-c", LATE_PROGRAM + code, tmp_path], capture_output=True, text=True, check=False
        )
        before, _, after = ended.stdout.partition("\n")
        assert before == f"before: False late {package}/__init__.py", ended.stderr
        return after.strip()

    return run


@pytest.mark.parametrize(
    "code",
    [
        "print(late.VALUE)",
        "from late import VALUE; print(VALUE)",
        "import late.other; print(late.other.OTHER)",
        "from late.other import OTHER; print(OTHER)",
        "with ThreadPoolExecutor(8) as pool: print(*set(pool.map(lambda _: late.VALUE, range(8))))",
    ],
)
def test_what_is_imported_late_is_there_when_it_is_used(late, code):
    assert late(code + "\nprint(late.part.VALUE, type(late).__name__)") == "1\n1 module"


def test_what_is_imported_late_fails_when_it_is_used_each_time(late):
    code = "for _ in range(2):\n    try: late.VALUE\n    except ImportError as error: print(error)\n"
    assert late(code, "raise ImportError('broken')") == "broken\nbroken"


def test_what_is_not_installed_is_not_imported_late():
    imports.import_late("no_such_package")
    assert "no_such_package" not in sys.modules


YAML = "class SafeLoader: pass\nclass CSafeLoader: pass\ndef load(): return SafeLoader.__name__\n"


@pytest.fixture
def seen_by_imports(monkeypatch, tmp_path):
    """Return yaml's loader, and whether the garbage collector runs, during the imports and afterwards."""

    def see(yaml):
        (tmp_path / "yaml.py").write_text(yaml)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "yaml", raising=False)
        seen = []
        with contextlib.suppress(ZeroDivisionError), imports.quick_imports():
            seen.append((importlib.import_module("yaml").load(), gc.isenabled()))
            raise ZeroDivisionError
        return [*seen, (importlib.import_module("yaml").load(), gc.isenabled())]

    return see


def test_imports_are_quick_and_nothing_else_is_changed(seen_by_imports):
    assert seen_by_imports(YAML) == [("CSafeLoader", False), ("SafeLoader", True)]


def test_imports_without_libyaml(seen_by_imports):
    assert seen_by_imports(YAML.replace("CSafeLoader", "Other")) == [("SafeLoader", False), ("SafeLoader", True)]


def test_a_broken_yaml_is_for_dask_to_find(seen_by_imports):
    with pytest.raises(ImportError, match="broken") as caught:
        seen_by_imports("raise ImportError('broken')")
    assert caught.value.__context__ is None
    assert gc.isenabled()


SCHEDULER = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from gateway.as_user import imports
imports.import_late("numpy")
import distributed
imports.allocate_without_numpy()

async def main():
    options = {"host": "127.0.0.1", "dashboard": False}
    async with distributed.Scheduler(port=0, **options) as scheduler:
        async with distributed.Worker(scheduler.address, nthreads=1, **options):
            async with distributed.Client(scheduler.address, asynchronous=True) as client:
                text = await client.submit(str.upper, await client.scatter("a" * 10_000_000))
    print(len(text), set(text), type(sys.modules["numpy"]).__name__)

asyncio.run(main())
"""


def test_messages_are_received_without_numpy():
    root = Path(imports.__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", SCHEDULER, root], capture_output=True, text=True, check=False)
    assert ended.stdout == "10000000 {'A'} LateModule\n", ended.stderr

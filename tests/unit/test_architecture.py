"""Test the structure of the code: which room imports which, the size of files and functions, the list of packages.

Each rule stands in a function that returns its violations, and has a test which shows that it finds one.
"""

import ast
import functools
import itertools
import sys
import tomllib
from pathlib import Path

import pytest

from tests.unit import imports, rooms, sources
from tests.unit.docs import room_table
from tests.unit.imports import Import, is_in
from tests.unit.sources import ROOT

CODE = ("gateway", "infra", "release", "testbed")
PURE_SERVICES = (
    *("gateway.service", "gateway.service.tls"),
    *("gateway.service.dashboards", "gateway.service.dashboards.traefik"),
)
"""The proxy's certificate and its middlewares need them; the packages themselves import nothing."""
MOST_LINES = 400
MOST_FUNCTION_LINES = 60
LAUNCHER = "gateway.slurm.launcher"


@functools.cache
def imports_of(root: Path) -> list[Import]:
    return imports.imports(root, *CODE)


def dotted(room: str) -> str:
    return room.rstrip("/").replace("/", ".")


LEVELS = {dotted(room): level for level, names in enumerate(rooms.ORDER) for room in names}


def level_of(module: str) -> int | None:
    """Return the level of a module's room; None for a module outside the repository's rooms."""
    return next((level for room, level in LEVELS.items() if is_in(module, room)), None)


def upward(found: list[Import]) -> list[Import]:
    """Return imports from a higher level."""
    pairs = [(item, level_of(item.importer), level_of(item.imported)) for item in found]
    return [item for item, own, other in pairs if own is not None and other is not None and other > own]


def homeless(root: Path) -> set[str]:
    """Return modules outside all rooms. The package ``gateway`` itself holds no code."""
    return {module for module in imports.modules(root, *CODE) if level_of(module) is None} - {"gateway"}


def between(found: list[Import], one: str, other: str) -> list[Import]:
    """Return imports of one room from another, in both directions."""
    return [
        item
        for item in found
        for importer, imported in ((one, other), (other, one))
        if is_in(item.importer, importer) and is_in(item.imported, imported)
    ]


def of_users_code(found: list[Import]) -> list[Import]:
    """Return imports of anything of ours by modules that run in the user's interpreter."""
    return [
        item
        for item in found
        if is_in(item.importer, "gateway.as_user") and item.imported.partition(".")[0] in {*CODE, "tests"}
    ]


def of_site(found: list[Import]) -> list[Import]:
    """Return imports of anything else of ours by the site."""
    return [
        item
        for item in found
        if is_in(item.importer, "gateway.site")
        and item.imported.partition(".")[0] in {*CODE, "tests"}
        and not is_in(item.imported, "gateway.site")
    ]


def services_of_infra(found: list[Import]) -> set[str]:
    """Return modules of the running gateways, and their libraries, that the Pulumi program loads."""
    return {
        module
        for module in imports.reachable(found, "infra")
        if is_in(module, "prometheus_client") or (is_in(module, "gateway.service") and module not in PURE_SERVICES)
    }


def heavy_of_launcher(found: list[Import]) -> set[str]:
    """Return what a call of the launcher loads that costs time.

    The launcher may load itself, as_user, the standard library, and modules of gateway.slurm that import nothing.
    """
    importing = {item.importer for item in found}
    return {
        module
        for module in imports.reachable(found, LAUNCHER)
        if not is_in(module, LAUNCHER)
        and not is_in(module, "gateway.as_user")
        and module.partition(".")[0] not in sys.stdlib_module_names
        and not (module not in importing and (module == "gateway" or is_in(module, "gateway.slurm")))
    }


def long_files(root: Path) -> list[str]:
    found = [(path, len(path.read_text().splitlines())) for path in sources.files(root)]
    return [f"{path.relative_to(root)}: {lines} lines" for path, lines in found if lines > MOST_LINES]


def long_functions(root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)}:{node.lineno} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for path in sources.files(root)
        for node in ast.walk(sources.tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno + 1 > MOST_FUNCTION_LINES
    ]


def package_differences(root: Path) -> set[str]:
    """Return packages that pyproject.toml lists and the disk lacks, or the other way round."""
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    on_disk = {imports.module_name(root, path) for path in (root / "gateway").rglob("__init__.py")}
    return on_disk.symmetric_difference(listed)


def unpackaged(root: Path) -> set[str]:
    """Return folders of gateway/ that hold modules and are no packages: setuptools would leave them out."""
    folders = {path.parent for path in (root / "gateway").rglob("*.py")}
    return {str(folder.relative_to(root)) for folder in folders if not (folder / "__init__.py").exists()}


class TestTheCode:
    @pytest.fixture
    def found(self):
        return imports_of(ROOT)

    def test_imports_go_down_only(self, found):
        assert [str(item) for item in upward(found)] == []

    def test_every_module_has_a_room(self):
        assert homeless(ROOT) == set()

    @pytest.mark.parametrize("pair", rooms.APART, ids=" and ".join)
    def test_rooms_that_are_apart_never_import_each_other(self, found, pair):
        assert [str(item) for item in between(found, *map(dotted, pair))] == []

    def test_the_users_code_imports_nothing_of_ours(self, found):
        assert [str(item) for item in of_users_code(found)] == []

    def test_the_site_imports_nothing_else_of_ours(self, found):
        assert [str(item) for item in of_site(found)] == []

    def test_the_pulumi_program_loads_no_service(self, found):
        assert services_of_infra(found) == set()

    def test_the_launcher_loads_little(self, found):
        assert heavy_of_launcher(found) == set()

    def test_there_is_no_import_cycle(self, found):
        assert imports.cycle(found) == []

    def test_no_file_is_long(self):
        assert long_files(ROOT) == []

    def test_no_function_is_long(self):
        assert long_functions(ROOT) == []

    def test_setuptools_gets_all_packages(self):
        assert package_differences(ROOT) == set()
        assert unpackaged(ROOT) == set()

    def test_every_room_has_a_purpose(self):
        packages = {room: purpose for room, purpose in room_table.rooms(ROOT).items() if room.split("/")[0] in CODE}
        assert [room for room, purpose in packages.items() if not (purpose or "").endswith(".")] == []


@pytest.fixture
def repository(tmp_path):
    """Return a function that writes a repository of these modules, path -> source, and returns its imports."""

    def write(**modules):
        for name, source in modules.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            for folder in [path.parent, *path.parent.parents]:
                if folder == tmp_path:
                    break
                (folder / "__init__.py").touch()
            path.write_text(source)
        return imports.imports(tmp_path, *{path.name for path in tmp_path.iterdir()})

    return write


class TestViolationsAreFound:
    @pytest.mark.parametrize(("lower", "higher"), [(low[0], high[0]) for low, high in itertools.pairwise(rooms.ORDER)])
    def test_an_import_that_goes_up(self, repository, lower, higher):
        modules = [
            f"{room.rstrip('/').replace('/', '__')}{'__a' if room.endswith('/') else ''}" for room in (lower, higher)
        ]
        names = [name.replace("__", ".") for name in modules]
        found = repository(**{modules[0]: f"import {names[1]}", modules[1]: f"import {names[0]}"})
        assert upward(found) == [Import(names[0], names[1], 1)]

    @pytest.mark.parametrize(
        "source", ["import tests.unit.x", "from tests.unit import x", "import infra", "import testbed.a"]
    )
    def test_the_gateway_on_what_is_above_it(self, repository, source):
        assert len(upward(repository(gateway__slurm__a=source, infra__a="", testbed__a=""))) == 1

    def test_an_import_inside_a_function(self, repository):
        found = repository(gateway__request__a="def f():\n    from gateway.service import b\n", gateway__service__b="")
        assert [str(item) for item in upward(found)] == ["gateway.request.a:2 imports gateway.service.b"]

    def test_a_relative_import(self, repository):
        found = repository(
            gateway__request__a="from ..service import b\nfrom . import c",
            gateway__service__b="",
            gateway__request__c="",
        )
        assert upward(found) == [Import("gateway.request.a", "gateway.service.b", 1)]
        assert found[1] == Import("gateway.request.a", "gateway.request.c", 2)

    def test_a_module_without_a_room(self, tmp_path, repository):
        repository(gateway__new="A = 1", gateway__errors="", infra__a="")
        assert homeless(tmp_path) == {"gateway.new"}

    @pytest.mark.parametrize("pair", [*rooms.APART, *(pair[::-1] for pair in rooms.APART)], ids=" to ".join)
    def test_rooms_that_are_apart(self, repository, pair):
        one, other = (room.rstrip("/").replace("/", "__") for room in pair)
        found = repository(**{f"{one}__a": f"from {other.replace('__', '.')} import b", f"{other}__b": ""})
        assert len(between(found, *map(dotted, pair))) == 1

    @pytest.mark.parametrize("source", ["import gateway.as_user.b", "from gateway import site", "from . import b"])
    def test_the_users_code_on_ours(self, repository, source):
        assert len(of_users_code(repository(gateway__as_user__a=source, gateway__as_user__b="", gateway__site=""))) == 1

    def test_the_site_on_ours(self, repository):
        found = repository(
            gateway__site__a="from gateway.site import b\nimport gateway.errors",
            gateway__site__b="",
            gateway__errors="",
        )
        assert [item.imported for item in of_site(found)] == ["gateway.errors"]

    def test_a_service_behind_a_module_that_the_pulumi_program_imports(self, repository):
        modules = {"infra__a": "from gateway.kubernetes import b", "gateway__service__c": "import prometheus_client"}
        assert services_of_infra(repository(**modules, gateway__kubernetes__b="")) == set()
        found = repository(**modules, gateway__kubernetes__b="def f():\n    import gateway.service.c\n")
        assert services_of_infra(found) == {"gateway.service.c", "prometheus_client"}

    @pytest.mark.parametrize("source", ["import yaml", "from gateway.slurm import jobs", "import gateway.site"])
    @pytest.mark.parametrize("launcher", ["gateway__slurm__launcher", "gateway__slurm__launcher__actions"])
    def test_a_launcher_that_loads_much(self, repository, launcher, source):
        light = "import os\nfrom gateway.slurm import constants\nfrom gateway.as_user import preflight\n"
        others = {
            "gateway__slurm__constants": "A = 1",
            "gateway__slurm__jobs": "import re",
            "gateway__site": "import yaml",
        }
        preflight = "import json"
        assert (
            heavy_of_launcher(repository(**{launcher: light}, **others, gateway__as_user__preflight=preflight)) == set()
        )
        found = repository(**{launcher: light + source}, **others, gateway__as_user__preflight=preflight)
        assert heavy_of_launcher(found) & {"yaml", "gateway.slurm.jobs", "gateway.site"}

    def test_an_import_cycle(self, repository):
        sources_ = {
            "infra__a": "import infra.b",
            "infra__b": "def f():\n    from infra import c\n",
            "infra__d": "import infra.a",
        }
        assert imports.cycle(repository(**sources_, infra__c="")) == []
        found = repository(**sources_, infra__c="from infra.a import x")
        assert imports.cycle(found) == ["infra.a", "infra.b", "infra.c", "infra.a"]

    def test_a_long_file(self, tmp_path):
        (tmp_path / "tests").mkdir()
        (tmp_path / "tests" / "a.py").write_text("\n" * MOST_LINES)
        (tmp_path / "tests" / "b.py").write_text("\n" * (MOST_LINES + 1))
        assert long_files(tmp_path) == ["tests/b.py: 401 lines"]

    @pytest.mark.parametrize("keyword", ["def", "async def"])
    def test_a_long_function(self, tmp_path, keyword):
        (tmp_path / "tests").mkdir()
        body = "    pass\n" * (MOST_FUNCTION_LINES - 1)
        (tmp_path / "tests" / "a.py").write_text(f"{keyword} fits():\n{body}\n{keyword} long():\n{body}    pass\n")
        assert long_functions(tmp_path) == ["tests/a.py:62 long: 61 lines"]

    def test_a_package_that_setuptools_does_not_get(self, tmp_path, repository):
        repository(gateway__a__b="")
        (tmp_path / "gateway" / "data").mkdir()
        (tmp_path / "gateway" / "data" / "c.py").touch()
        (tmp_path / "pyproject.toml").write_text('[tool.setuptools]\npackages = ["gateway", "gateway.gone"]\n')
        assert package_differences(tmp_path) == {"gateway.a", "gateway.gone"}
        assert unpackaged(tmp_path) == {"gateway/data"}

"""Test that the user guide agrees with the site: numbers, addresses, options and storage."""

import ast
import re

import pytest

from gateway import site
from gateway.request import environments, options
from gateway.site import Access, Backend
from release.paths import ROOT
from testbed import guide

GEDDES = site.load(ROOT / "sites" / "geddes.yaml")
TESTBED = site.load(ROOT / "sites" / "testbed.yaml")
WORDS = {Access.NONE: "no access", Access.READ_ONLY: "read-only", Access.READ_WRITE: "read / write"}
COLUMNS = {
    "SLURM workers (Purdue users)": (Backend.SLURM, ["purdue"]),
    "Kubernetes workers (Purdue users)": (Backend.KUBERNETES, ["purdue"]),
    "Kubernetes workers (CERN/FNAL users)": (Backend.KUBERNETES, ["cern", "fnal"]),
}
UNITS = {"minutes": 60, "hour": 3600, "day": 86400}


def call(snippet: str, name: str) -> ast.Call:
    """Return the one call of that function or method in a snippet."""
    (found,) = (
        node
        for node in ast.walk(ast.parse(guide.snippets()[snippet]))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rsplit(".", 1)[-1] == name
    )
    return found


def literals(keywords: list[ast.keyword]) -> dict[str | None, object]:
    return {keyword.arg: ast.literal_eval(keyword.value) for keyword in keywords}


def test_slurm_addresses_are_the_sites() -> None:
    gateway = call("connect-slurm", "Gateway")
    assert [ast.literal_eval(argument) for argument in gateway.args] == [f"{GEDDES.slurm.address}/"]
    assert literals(gateway.keywords) == {"proxy_address": f"{GEDDES.slurm.proxy_host}:{GEDDES.slurm.proxy_port}"}


def test_kubernetes_is_the_default() -> None:
    gateway = call("connect-kubernetes", "Gateway")
    assert (gateway.args, gateway.keywords) == ([], [])


@pytest.mark.parametrize("backend", Backend)
def test_testbed_has_the_names_of_geddes(backend: Backend) -> None:
    addresses = [(it.host, it.proxy_host, it.proxy_port) for it in (GEDDES.gateway(backend), TESTBED.gateway(backend))]
    assert addresses[0] == addresses[1]


def test_amounts_are_the_sites() -> None:
    total = GEDDES.kubernetes.user_total
    said = set(re.findall(r"\b(\d+) (cores|GB)\b", guide.text()))
    assert said == {(f"{total.cores:g}", "cores"), (f"{total.memory_gib:g}", "GB")}


@pytest.mark.parametrize("backend", Backend)
def test_times_are_the_sites(backend: Backend) -> None:
    timeouts = GEDDES.gateway(backend).timeouts
    section = guide.text().split("## 5. ")[1]
    said = [int(number) * UNITS[unit] for number, unit in re.findall(r"\b(\d+) (minutes|hour|day)\b", section)]
    assert said == [timeouts.start_seconds, timeouts.lifetime_seconds, timeouts.client_gone_seconds]


@pytest.mark.parametrize("backend", Backend)
def test_options_are_the_gateways(backend: Backend) -> None:
    fields = options.cluster_options(GEDDES, backend).get_specification()
    _, *rows = guide.table("default")
    assert [row[0].strip("`") for row in rows] == [field["field"] for field in fields]


def test_defaults_are_the_gateways() -> None:
    _, *rows = guide.table("default")
    defaults = {row[0].strip("`"): ast.literal_eval(row[1].strip("`")) for row in rows if row[1]}
    assert defaults == {
        "pixi_env": environments.DEFAULT_PIXI_ENVIRONMENT,
        "worker_cores": options.DEFAULT_WORKER_CORES,
        "worker_memory": options.DEFAULT_WORKER_MEMORY_GIB,
    }


@pytest.mark.parametrize("settings", [GEDDES, TESTBED], ids=lambda settings: settings.name)
def test_storage_table_is_the_sites(settings: site.Site) -> None:
    (_, *heads), *rows = guide.table("SLURM workers")
    said = {(row[0], head): {cell} for row in rows for head, cell in zip(heads, row[1:], strict=True)}
    expected = {("/home/", head): {WORDS[Access.NONE]} for head in COLUMNS}
    for volume in settings.storage:
        for head, (backend, classes) in COLUMNS.items():
            expected[volume.label, head] = {WORDS[volume.access_for(backend, name)] for name in classes}
    assert said == expected


def test_every_snippet_is_python() -> None:
    blocks = guide.text().count("```python")
    assert len(guide.snippets()) == blocks
    for name, code in guide.snippets().items():
        compile(code, name, "exec")


def test_only_example_paths_have_to_be_replaced() -> None:
    replaced = dict.fromkeys(guide.PATHS, "")
    assert not [name for name in guide.snippets() if "/path" in guide.snippet(name, replaced)]

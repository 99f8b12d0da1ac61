"""The site model refuses faulty files, and names each fault by the key's path."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gateway import site

ROOT = Path(__file__).resolve().parents[3]
SITES = sorted((ROOT / "sites").glob("*.yaml"))


def changed(tmp_path: Path, change: "callable[[dict], None]") -> Path:
    data = yaml.safe_load((ROOT / "sites" / "testbed.yaml").read_text())
    change(data)
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def faults(path: Path) -> tuple[str, ...]:
    with pytest.raises(site.SiteError) as caught:
        site.load(path)
    return caught.value.faults


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_committed_sites_are_fine(path):
    assert site.load(path).name == path.stem


@pytest.mark.parametrize(
    ("place", "key", "nearest"),
    [
        (("kubernetes", "timeouts"), "lifetime_second", "lifetime_seconds"),
        (("storage", 1, "kubernetes"), "pathh", "path"),
        (("identity",), "clases", "classes"),
        ((), "storag", "storage"),
    ],
)
def test_an_unknown_key_is_refused_with_its_path_and_the_nearest_name(tmp_path, place, key, nearest):
    def change(data):
        for part in place:
            data = data[part]
        data[key] = 1

    (fault,) = faults(changed(tmp_path, change))
    assert fault.endswith(f"{key}: unknown key; did you mean {nearest!r}?")
    assert fault.startswith(".".join(str(part) for part in place[:2]))


def test_every_fault_has_a_line_of_its_own(tmp_path):
    def change(data):
        del data["name"]
        data["slurm"]["worker_cores"]["minimum"] = "many"

    assert faults(changed(tmp_path, change)) == (
        "name: missing",
        "slurm.worker_cores.minimum: Input should be a valid number, unable to parse string as a number (found 'many')",
    )


def test_access_without_a_source_is_refused(tmp_path):
    def change(data):
        del data["storage"][0]["kubernetes"]

    assert "work is accessible on kubernetes but has no source there" in faults(changed(tmp_path, change))[0]


def test_an_unknown_user_class_is_refused(tmp_path):
    def change(data):
        data["slurm"]["classes"] = ["perdue"]

    assert "slurm.classes names the unknown user class 'perdue'" in faults(changed(tmp_path, change))[0]


def test_root_is_no_uid(tmp_path):
    def change(data):
        data["identity"]["minimum_uid"] = 0

    assert faults(changed(tmp_path, change))[0].startswith("identity.minimum_uid: ")


@pytest.mark.parametrize("seconds", [1, 59])
def test_slurm_has_no_shorter_time_limit_than_a_minute(tmp_path, seconds):
    (fault,) = faults(changed(tmp_path, lambda data: data["slurm"]["timeouts"].update(lifetime_seconds=seconds)))
    assert f"lifetime_seconds is {seconds}, and SLURM's shortest time limit is 60 s" in fault


def test_clusters_share_their_namespace_with_nothing(tmp_path):
    (fault,) = faults(changed(tmp_path, lambda data: data["kubernetes"].update(clusters_namespace="cms")))
    assert "clusters_namespace and namespace are both cms" in fault


@pytest.mark.parametrize(
    ("gateway", "ports", "said"),
    [
        ("slurm", {"metrics_port": 8088}, "api_port and metrics_port are both 8088"),
        ("slurm", {"api_port": 8000}, "api_port and proxy_port are both 8000"),
        ("slurm", {"proxy_port": 8089}, "metrics_port and proxy_port are both 8089"),
        ("slurm", {"ingress_port": 8000}, "proxy_port and ingress_port are both 8000"),
        ("kubernetes", {"proxied_api_port": 8000}, "proxied_api_port and api_port are both 8000"),
        ("kubernetes", {"proxied_api_port": 9464}, "proxied_api_port and metrics_port are both 9464"),
    ],
)
def test_each_process_has_a_port_of_its_own(tmp_path, gateway, ports, said):
    (fault,) = faults(changed(tmp_path, lambda data: data[gateway].update(ports)))
    assert said in fault


@pytest.mark.parametrize("gateway", ["kubernetes", "slurm"])
def test_the_number_of_workers_is_always_bounded(tmp_path, gateway):
    assert faults(changed(tmp_path, lambda data: data[gateway].pop("maximum_workers"))) == (
        f"{gateway}.maximum_workers: missing",
    )
    bounds = {"per_cluster": 20, "per_user": 10}
    (fault,) = faults(changed(tmp_path, lambda data: data[gateway].update(maximum_workers=bounds)))
    assert "per_cluster is 20, more than per_user, which is 10" in fault


@pytest.mark.weakness(14)
@pytest.mark.parametrize(
    ("pool", "words"),
    [
        (None, "but there is no pool: add the section pool"),
        ({"account_pattern": "paf["}, "not a regular expression"),
    ],
)
def test_a_class_of_the_pool_has_a_valid_pool(tmp_path, pool, words):
    (fault,) = faults(changed(tmp_path, lambda data: data["identity"].update(pool=pool)))
    assert words in fault


@pytest.mark.weakness(8)
@pytest.mark.parametrize("name", ["cern", "fnal"])
def test_slurm_is_for_accounts_of_the_directory(tmp_path, name):
    (fault,) = faults(changed(tmp_path, lambda data: data["slurm"].update(classes=["purdue", name])))
    assert f"slurm.classes has {name!r}, whose users have no account of their own there" in fault


@pytest.mark.parametrize("environment", [{}, {"pixi_project": "/work/p", "conda_env": "/work/c"}])
def test_the_default_environment_is_one(tmp_path, environment):
    (fault,) = faults(changed(tmp_path, lambda data: data["kubernetes"].update(default_environment=environment)))
    assert "one of pixi_project and conda_env is needed" in fault


def test_gateways_name_their_workers_and_the_other_gateway(testbed_site):
    gateways = [testbed_site.gateway(backend) for backend in (site.Backend.KUBERNETES, site.Backend.SLURM)]
    assert [gateway.workers_label for gateway in gateways] == ["Kubernetes workers", "SLURM workers"]
    assert [gateway.alternative for gateway in gateways] == ["", " or use Gateway()"]


def test_a_user_class_may_have_a_total_of_its_own(testbed_site):
    own = site.UserTotal(cores=1, memory_gib=2)
    kubernetes = testbed_site.kubernetes.model_copy(update={"user_total_by_class": {"cern": own}})
    assert kubernetes.total_of("cern") == own
    assert kubernetes.total_of("purdue") == kubernetes.total_of(None) == kubernetes.user_total


@pytest.mark.finding("R9")
@pytest.mark.parametrize("host", ["hub", "directory"])
def test_policies_need_the_addresses_of_hub_and_directory(tmp_path, host):
    (fault,) = faults(changed(tmp_path, lambda data: data["kubernetes"]["host_aliases"].pop(host)))
    assert f"kubernetes.network.{host} is needed" in fault
    place = {"addresses": ["192.0.2.1/32"], "ports": [9]}

    def change(data):
        del data["kubernetes"]["host_aliases"][host]
        data["kubernetes"]["network"][host] = place

    loaded = site.load(changed(tmp_path, change))
    assert site.Destination.model_validate(place) in loaded.identity_services


@pytest.mark.parametrize("addresses", ["10.0.0.0", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/255.0.0.0", "::/0", "all"])
def test_address_ranges_are_exact(tmp_path, addresses):
    def change(data):
        data["kubernetes"]["network"]["data_addresses"] = [addresses]

    (fault,) = faults(changed(tmp_path, change))
    assert fault.startswith("kubernetes.network.data_addresses.0: ")


def test_a_destination_is_somewhere(tmp_path):
    (fault,) = faults(changed(tmp_path, lambda data: data["kubernetes"]["network"].update(dns={"ports": [53]})))
    assert "addresses or pods are needed" in fault


def test_unreadable_and_broken_files_are_named(tmp_path):
    (tmp_path / "broken.yaml").write_text("a: [")
    assert "is not YAML" in str(faults(tmp_path / "broken.yaml"))
    assert "can't be read" in str(faults(tmp_path / "absent.yaml"))


def test_the_check_command(tmp_path):
    bad = changed(tmp_path, lambda data: data.update(extra=1))
    command = [sys.executable, "-m", "gateway.site", "check", str(SITES[0]), str(bad)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert done.stdout == f"{SITES[0]}: fine\n"
    assert done.stderr.splitlines() == [f"{bad}: extra: unknown key; did you mean 'storage'?"]


def test_the_committed_schema_is_current():
    assert (ROOT / "sites" / "schema.json").read_text() == site.schema_text()

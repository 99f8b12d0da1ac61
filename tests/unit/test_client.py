"""Test the rendered configuration with dask-gateway's own client."""

from pathlib import Path

import pytest
import yaml
from dask_gateway.auth import JupyterHubAuth, get_auth

from gateway import client, site
from release.paths import ROOT

SITES = sorted((ROOT / "sites").glob("*.yaml"))


@pytest.fixture(params=SITES, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_file_names_the_kubernetes_gateway(path: Path) -> None:
    kubernetes = site.load(path).kubernetes
    configuration = yaml.safe_load(client.render(site.load(path)))["gateway"]
    assert configuration["address"] == kubernetes.address
    assert configuration["proxy-address"] == f"{kubernetes.proxy_host}:{kubernetes.proxy_port}"


def test_the_stock_client_understands_its_authentication(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "of-the-session")
    authentication = yaml.safe_load(client.render(site.load(path)))["gateway"]["auth"]
    assert isinstance(get_auth(authentication["type"]), JupyterHubAuth)


def test_command_prints_the_file(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert client.main([str(path)]) == 0
    assert capsys.readouterr().out == client.render(site.load(path))


def test_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert client.main([str(tmp_path / "absent.yaml")]) == 1
    assert "absent.yaml: can't be read" in capsys.readouterr().err
    assert client.main([]) == 2

"""The configuration of API server and controller, which follows from the site."""

import os
import subprocess
import sys

import pytest

from gateway.kubernetes.api.backend import FacilityKubeBackend
from gateway.kubernetes.api.configuration import api_config
from gateway.kubernetes.controller.configuration import controller_config
from gateway.kubernetes.controller.controller import FacilityKubeController


def test_both_processes_watch_the_same_namespace_and_instance(testbed_site):
    backend = FacilityKubeBackend(config=api_config(testbed_site))
    controller = FacilityKubeController(config=controller_config(testbed_site))
    assert backend.namespace == controller.namespace == "cms-dask"
    assert backend.gateway_instance == controller.gateway_instance == "dask-gateway-k8s"
    assert backend.api_url == controller.api_url == "http://api-dask-gateway-k8s.cms:8000/api"


def test_all_informers_are_namespaced(testbed_site):
    controller = FacilityKubeController(config=controller_config(testbed_site))
    controller.core_client = controller.custom_client = None
    for informer in controller.make_informers().values():
        assert informer.method.startswith("list_namespaced_")
        assert "endpoints" not in informer.method, "Kubernetes has deprecated Endpoints"
        assert informer.method_kwargs["namespace"] == "cms-dask"


@pytest.mark.parametrize("command", ["api", "controller"])
def test_a_missing_site_is_said_in_one_line(command, tmp_path):
    completed = subprocess.run(
        [sys.executable, "-m", "gateway.kubernetes", command],
        env={**os.environ, "AF_SITE": str(tmp_path / "site.yaml")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 1
    assert completed.stderr == f"{tmp_path / 'site.yaml'}: can't be read: No such file or directory\n"

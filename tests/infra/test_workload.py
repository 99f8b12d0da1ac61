"""What all Deployments of the gateway have in common."""

import pytest

from tests.infra.queries import WORKLOADS, pods
from tests.infra.recorder import render
from tests.infra.samples import settings_of


class TestPods:
    @pytest.mark.weakness(15)
    def test_are_restricted(self, manifests):
        assert len(pods(manifests)) == len(WORKLOADS)
        for pod in pods(manifests).values():
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            (container,) = pod["containers"]
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert {"requests", "limits"} <= set(container["resources"])

    def test_replicas_are_spread_over_nodes_if_there_are_several(self, manifests):
        for name, deployment in manifests.of_kind("Deployment").items():
            (spread,) = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
            assert spread["topologyKey"] == "kubernetes.io/hostname"
            assert spread["whenUnsatisfiable"] == "ScheduleAnyway", f"{name} has to start on a single node"
            assert spread["labelSelector"] == deployment["spec"]["selector"]

    def test_replicas_and_placement_are_the_sites(self, geddes_site):
        kubernetes = geddes_site.kubernetes.model_copy(update={"api_replicas": 3, "proxy_replicas": 4})
        stack = render(settings_of(geddes_site.model_copy(update={"kubernetes": kubernetes})))
        assert stack.get("Deployment", "traefik-dask-gateway-k8s")["spec"]["replicas"] == 4
        spec = stack.get("Deployment", "api-dask-gateway-k8s")["spec"]
        assert spec["replicas"] == 3
        assert spec["template"]["spec"]["nodeSelector"] == {"cms-af-prod": "true"}
        assert spec["template"]["spec"]["tolerations"][0]["key"] == "hub.jupyter.org/dedicated"


class TestAvailability:
    """Rolling updates and drains of nodes leave a gateway that answers."""

    @pytest.mark.parametrize("part", ["api", "traefik"])
    def test_what_takes_requests_is_replaced_without_a_gap(self, manifests, any_site, part):
        spec = manifests.get("Deployment", f"{part}-{any_site.kubernetes.release}")["spec"]
        assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
        pod = spec["template"]["spec"]
        (container,) = pod["containers"]
        drain = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert drain == 5
        assert "httpGet" in container["readinessProbe"]
        # Upstream's API server answers a poll after 20 s at most, and closes within 15 s more.
        assert pod["terminationGracePeriodSeconds"] >= drain + 30

    @pytest.mark.parametrize("part", ["api", "traefik"])
    def test_a_drain_of_nodes_takes_one_pod_at_a_time(self, manifests, any_site, part):
        name = f"{part}-{any_site.kubernetes.release}"
        budget = manifests.get("PodDisruptionBudget", name)["spec"]
        assert budget["maxUnavailable"] == 1
        assert budget["selector"] == manifests.get("Deployment", name)["spec"]["selector"]


class TestRights:
    @pytest.mark.weakness(15)
    def test_are_in_the_namespace_only(self, manifests):
        assert not manifests.of_kind("ClusterRole")
        assert not manifests.of_kind("ClusterRoleBinding")

    def test_each_part_has_its_own_account(self, manifests, any_site):
        expected = {f"{part}-{any_site.kubernetes.release}" for part in WORKLOADS}
        assert set(manifests.of_kind("Deployment")) == expected
        for binding in manifests.of_kind("RoleBinding").values():
            (subject,) = binding["subjects"]
            assert subject["namespace"] == any_site.kubernetes.namespace
            assert binding["metadata"]["name"].removesuffix("-clusters") == subject["name"]
            assert (
                manifests.get("Role", binding["roleRef"]["name"])["metadata"]["namespace"]
                == (binding["metadata"]["namespace"])
            )
        users = f"clusters-{any_site.kubernetes.release}"
        assert set(manifests.of_kind("ServiceAccount")) == {*expected, users}
        assert manifests.get("ServiceAccount", users)["automountServiceAccountToken"] is False
        for name, pod in pods(manifests).items():
            assert pod["serviceAccountName"] == name

"""API server and controller: their site, pods, pool and rights."""

import pytest
import yaml

from gateway.site import Site
from tests.infra.queries import rules
from tests.infra.recorder import render
from tests.infra.samples import settings_of


def test_gateways_read_the_site_that_was_rendered(manifests, any_site):
    text = manifests.get("ConfigMap", f"site-{any_site.kubernetes.release}")["data"]["site.yaml"]
    assert Site.model_validate(yaml.safe_load(text)) == any_site


class TestController:
    def test_controller_never_runs_twice(self, manifests, any_site):
        name = f"controller-{any_site.kubernetes.release}"
        spec = manifests.get("Deployment", name)["spec"]
        assert spec["replicas"] == 1
        assert spec["strategy"]["type"] == "Recreate"
        (container,) = spec["template"]["spec"]["containers"]
        assert ("startupProbe" in container, "readinessProbe" in container) == (True, False)
        assert "spec" not in manifests.get("Lease", name), (
            "the controller writes the holder, and Pulumi must not overwrite it"
        )

    def test_nothing_keeps_the_controllers_node_from_being_drained(self, manifests, any_site):
        assert f"controller-{any_site.kubernetes.release}" not in manifests.of_kind("PodDisruptionBudget")


class TestRestarts:
    """A Deployment's pods are replaced when an annotation of its template changes."""

    def test_a_changed_site_restarts_api_and_controller(self, testbed_site, testbed):
        changed = testbed_site.model_copy(update={"title": "Another"})
        after = render(settings_of(changed))
        for name in ("api-dask-gateway-k8s", "controller-dask-gateway-k8s"):
            before_, after_ = (
                stack.get("Deployment", name)["spec"]["template"]["metadata"]["annotations"]
                for stack in (testbed, after)
            )
            assert before_ != after_

    def test_a_changed_token_restarts_the_api(self, testbed_site, testbed):
        settings = settings_of(testbed_site)
        after = render(type(settings)(testbed_site, "another-token", settings.directory_ca))
        name = "api-dask-gateway-k8s"
        annotations = [
            stack.get("Deployment", name)["spec"]["template"]["metadata"]["annotations"] for stack in (testbed, after)
        ]
        assert annotations[0] != annotations[1]


class TestRights:
    @pytest.mark.weakness(15)
    def test_of_the_api(self, testbed):
        assert rules(testbed, "api-dask-gateway-k8s-clusters") == {
            *(("", "secrets", verb) for verb in ("get", "create")),
            *(
                ("gateway.dask.org", "daskclusters", verb)
                for verb in ("get", "list", "watch", "create", "patch", "delete")
            ),
        }

    @pytest.mark.weakness(15)
    def test_of_the_controller_on_secrets(self, testbed):
        found = {
            verb
            for _, resource, verb in rules(testbed, "controller-dask-gateway-k8s-clusters")
            if resource == "secrets"
        }
        assert found == {"create", "delete"}

    @pytest.mark.parametrize("resource", ["networkpolicies", "endpointslices"])
    def test_of_the_controller_on_what_it_only_makes_and_deletes(self, testbed, resource):
        found = {verb for _, kind, verb in rules(testbed, "controller-dask-gateway-k8s-clusters") if kind == resource}
        assert found == {"create", "delete"}

    @pytest.mark.finding("R6")
    def test_in_the_gateways_own_namespace_are_for_two_objects_of_the_controller(self, testbed, testbed_site):
        namespace, name = testbed_site.kubernetes.namespace, "controller-dask-gateway-k8s"
        own = {
            role: made for role, made in testbed.of_kind("Role").items() if made["metadata"]["namespace"] == namespace
        }
        assert own.keys() == {name}
        assert [(rule["resources"], rule["resourceNames"], rule["verbs"]) for rule in own[name]["rules"]] == [
            (["leases"], [name], ["get", "patch"]),
            (["deployments"], ["api-dask-gateway-k8s"], ["get"]),
        ]

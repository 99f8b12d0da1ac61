"""NetworkPolicies of the gateway's pods."""

import pytest


@pytest.mark.weakness(15)
def test_everything_of_the_gateway_is_closed_and_nothing_else(manifests, any_site):
    closed = manifests.get("NetworkPolicy", f"{any_site.kubernetes.release}-closed")["spec"]
    assert closed["ingress"] == []
    assert closed["podSelector"]["matchLabels"]["app.kubernetes.io/instance"] == any_site.kubernetes.release


@pytest.mark.weakness(15)
def test_each_component_has_its_flows(manifests, any_site):
    flows = {
        name.removeprefix(f"{any_site.kubernetes.release}-"): [
            (
                tuple(
                    peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in rule.get("from", ())
                ),
                tuple(port["port"] for port in rule.get("ports", ())),
            )
            for rule in policy["spec"]["ingress"]
        ]
        for name, policy in manifests.of_kind("NetworkPolicy").items()
        if not name.endswith("-metrics")
    }
    assert flows == {
        "closed": [],
        "api": [(("traefik",), (8001,)), (("dask-scheduler",), (8000,))],
        "traefik": [((), (8000, 8786))],
        "dask-scheduler": [
            (("traefik",), (8786, 8787)),
            (("api",), (8788,)),
            (("dask-worker",), (8786,)),
        ],
        "dask-worker": [(("dask-scheduler", "dask-worker"), ())],
    }


def test_controller_is_reached_by_nobody(testbed):
    for policy in testbed.of_kind("NetworkPolicy").values():
        selected = policy["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/component")
        assert selected != "controller"

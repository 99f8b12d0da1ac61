"""NetworkPolicies of the gateway's pods."""

import ipaddress

import pytest


def policies(manifests, site):
    """Return the policies by their names without the release, without those for Prometheus."""
    found = manifests.of_kind("NetworkPolicy").items()
    named = {name.removeprefix(f"{site.kubernetes.release}-"): policy["spec"] for name, policy in found}
    return {name: spec for name, spec in named.items() if not name.endswith("-metrics")}


def components(peers):
    return tuple(peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in peers)


def ports(rule):
    return tuple(port["port"] for port in rule.get("ports", ()))


def is_of_the_gateway(rule):
    """Return whether all destinations of an egress rule are pods of the gateway or of users' clusters."""
    labels = [peer.get("podSelector", {}).get("matchLabels", {}) for peer in rule["to"]]
    return all("app.kubernetes.io/instance" in found for found in labels)


@pytest.mark.finding("R9")
def test_peers_are_in_the_namespace_of_their_pods(manifests, any_site):
    gateway = any_site.kubernetes
    places = {
        **dict.fromkeys(("api", "controller", "traefik"), gateway.namespace),
        **dict.fromkeys(("dask-scheduler", "dask-worker"), gateway.clusters_namespace),
    }
    for name, policy in manifests.of_kind("NetworkPolicy").items():
        selected = policy["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/component")
        if selected is not None:
            assert policy["metadata"]["namespace"] == places[selected], name
        rules = [*policy["spec"]["ingress"], *policy["spec"]["egress"]]
        for peer in (peer for rule in rules for peer in (*rule.get("from", ()), *rule.get("to", ()))):
            component = peer.get("podSelector", {}).get("matchLabels", {}).get("app.kubernetes.io/component")
            if component in places:
                assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": places[component]}, (
                    name
                )


@pytest.mark.weakness(15)
def test_everything_of_the_gateway_is_closed_and_nothing_else(manifests, any_site):
    for name in ("closed", "clusters-closed"):
        closed = policies(manifests, any_site)[name]
        assert (closed["ingress"], closed["egress"]) == ([], [])
        assert closed["podSelector"]["matchLabels"]["app.kubernetes.io/instance"] == any_site.kubernetes.release


@pytest.mark.weakness(15)
def test_each_component_has_its_flows(manifests, any_site):
    found = policies(manifests, any_site)
    ingress = {
        name: [(components(rule.get("from", ())), ports(rule)) for rule in spec["ingress"]]
        for name, spec in found.items()
    }
    assert ingress == {
        "closed": [],
        "clusters-closed": [],
        "api": [(("traefik",), (8001,)), (("dask-scheduler",), (8000,))],
        "controller": [],
        "traefik": [((), (8000, 8786))],
        "dask-scheduler": [(("traefik",), (8786, 8787)), (("api",), (8788,))],
        "dask-worker": [],
    }
    egress = {
        name: [(components(rule["to"]), ports(rule)) for rule in spec["egress"] if is_of_the_gateway(rule)]
        for name, spec in found.items()
    }
    assert egress == {
        "closed": [],
        "clusters-closed": [],
        "api": [(("dask-scheduler",), (8788,))],
        "controller": [],
        "traefik": [(("api",), (8001,)), (("dask-scheduler",), (8786, 8787))],
        "dask-scheduler": [(("api",), (8000,))],
        "dask-worker": [],
    }


@pytest.mark.finding("R9")
def test_every_policy_is_about_both_directions_and_no_rule_allows_all_destinations(manifests):
    for policy in manifests.of_kind("NetworkPolicy").values():
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        assert all(rule["to"] for rule in policy["spec"]["egress"])


def allows(rules, address, port):
    """Return whether egress rules allow TCP to an address outside of the Kubernetes cluster."""
    found = ipaddress.ip_address(address)
    return any(
        found in ipaddress.ip_network(peer["ipBlock"]["cidr"])
        and not any(found in ipaddress.ip_network(closed) for closed in peer["ipBlock"].get("except", ()))
        for rule in rules
        if not ports(rule) or port in ports(rule)
        for peer in rule["to"]
        if "ipBlock" in peer
    )


PRIVATE = {
    "node": ("172.18.0.2", 10250),
    "Kubernetes' API server": ("172.18.0.2", 6443),
    "its Service": ("10.96.0.1", 443),
    "pod": ("10.244.0.17", 8786),
    "carrier's address": ("100.64.0.1", 443),
    "metadata": ("169.254.169.254", 80),
    "loopback": ("127.0.0.1", 10248),
    "private": ("192.168.1.1", 22),
    "hub": ("172.30.0.12", 8081),
    "directory": ("172.30.0.11", 636),
}


@pytest.mark.finding("R9")
@pytest.mark.parametrize("place", PRIVATE)
@pytest.mark.parametrize("component", ["dask-scheduler", "dask-worker"])
def test_users_code_reaches_no_private_address(manifests, any_site, component, place):
    assert not allows(policies(manifests, any_site)[component]["egress"], *PRIVATE[place])


@pytest.mark.parametrize("component", ["dask-scheduler", "dask-worker"])
def test_users_code_reaches_the_public_internet_and_listed_data_servers(manifests, any_site, component):
    rules = policies(manifests, any_site)[component]["egress"]
    network = any_site.kubernetes.network
    assert allows(rules, "8.8.8.8", 1094)
    for addresses in network.data_addresses:
        assert allows(rules, addresses.split("/")[0], 1094)
    for addresses in network.closed_addresses:
        assert not allows(rules, addresses.split("/")[0], 1094)


@pytest.mark.finding("R9")
def test_only_the_gateways_own_pods_reach_hub_directory_and_kubernetes(testbed, testbed_site):
    found = policies(testbed, testbed_site)
    reached = {
        name: [
            place for place in ("Kubernetes' API server", "hub", "directory") if allows(spec["egress"], *PRIVATE[place])
        ]
        for name, spec in found.items()
    }
    assert reached == {
        "closed": [],
        "clusters-closed": [],
        "api": ["Kubernetes' API server", "hub", "directory"],
        "controller": ["Kubernetes' API server", "hub", "directory"],
        "traefik": ["Kubernetes' API server"],
        "dask-scheduler": [],
        "dask-worker": [],
    }


def test_the_hub_of_geddes_is_reached_by_its_pods(geddes, geddes_site):
    hub = geddes_site.kubernetes.network.hub
    peer = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": hub.pods.namespace}},
        "podSelector": {"matchLabels": hub.pods.labels},
    }
    egress = policies(geddes, geddes_site)["api"]["egress"]
    assert {"to": [peer], "ports": [{"port": 8081, "protocol": "TCP"}]} in egress


def test_controller_is_reached_by_nobody(testbed, testbed_site):
    assert policies(testbed, testbed_site)["controller"]["ingress"] == []

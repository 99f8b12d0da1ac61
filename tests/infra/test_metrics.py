"""Metrics: only Prometheus reaches them."""

import yaml


def test_api_and_controller_tell_where_they_are(manifests, any_site):
    for part in ("api", "controller"):
        template = manifests.get("Deployment", f"{part}-{any_site.kubernetes.release}")["spec"]["template"]
        annotations = template["metadata"]["annotations"]
        (container,) = template["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports == {"http": 8000, "metrics": 9464, **({"proxied": 8001} if part == "api" else {})}
        assert annotations["prometheus.io/scrape"] == "true"
        assert annotations["prometheus.io/port"] == str(ports["metrics"])
        assert annotations["prometheus.io/path"] == "/metrics"


def test_no_service_and_no_route_leads_to_them(manifests):
    for kind in ("Service", "Ingress", "IngressRoute"):
        for manifest in manifests.of_kind(kind).values():
            assert "metrics" not in yaml.safe_dump(manifest["spec"])
            assert "9464" not in yaml.safe_dump(manifest["spec"])


def test_prometheus_reaches_them_and_nothing_else(geddes, geddes_site):
    policies = {name: policy for name, policy in geddes.of_kind("NetworkPolicy").items() if "metrics" in name}
    expected = geddes_site.kubernetes.prometheus
    peer = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": expected.namespace}},
        "podSelector": {"matchLabels": expected.labels},
    }
    selected = set()
    for policy in policies.values():
        selected.add(policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"])
        assert policy["spec"]["ingress"] == [{"from": [peer], "ports": [{"port": 9464, "protocol": "TCP"}]}]
    assert selected == {"api", "controller"}


def test_nobody_reaches_them_where_the_site_names_no_prometheus(testbed):
    for policy in testbed.of_kind("NetworkPolicy").values():
        assert "9464" not in yaml.safe_dump(policy["spec"])

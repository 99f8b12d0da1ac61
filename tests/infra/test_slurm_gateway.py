"""The SLURM gateway's front on Kubernetes."""


def test_the_front_leads_to_the_submission_host(manifests, any_site):
    slices = manifests.of_kind("EndpointSlice")
    assert "api-dask-gateway-k8s-slurm" in slices
    assert ("ingress-dask-gateway-k8s-slurm" in slices) == bool(any_site.slurm.trusted_proxies)
    for name, endpoint_slice in slices.items():
        assert endpoint_slice["metadata"]["labels"]["kubernetes.io/service-name"] == name
        assert endpoint_slice["endpoints"][0]["addresses"] == [any_site.slurm.submission_address]
        (service_port,) = manifests.get("Service", name)["spec"]["ports"]
        assert endpoint_slice["ports"] == [
            {"name": service_port["name"], "port": service_port["targetPort"], "protocol": "TCP"}
        ]


def test_clients_reach_no_port_at_which_proxies_are_believed(testbed):
    service = testbed.get("Service", "ingress-dask-gateway-k8s-slurm")["spec"]
    assert service["type"] == "ClusterIP"
    assert "externalIPs" not in service

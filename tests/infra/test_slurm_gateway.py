"""The SLURM gateway's front on Kubernetes."""


def test_the_front_leads_to_the_submission_host(manifests, any_site):
    slices = manifests.of_kind("EndpointSlice")
    assert "api-dask-gateway-k8s-slurm" in slices
    for name, endpoint_slice in slices.items():
        assert endpoint_slice["metadata"]["labels"]["kubernetes.io/service-name"] == name
        assert endpoint_slice["endpoints"][0]["addresses"] == [any_site.slurm.submission_address]
        service_port = manifests.get("Service", name)["spec"]["ports"][0]["name"]
        assert endpoint_slice["ports"][0]["name"] == service_port

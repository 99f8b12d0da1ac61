"""What both stacks declare, recorded without Kubernetes."""

from base64 import b64decode

import pulumi
import pytest
import yaml
from pulumi_kubernetes.core.v1 import ConfigMap

from gateway.site import Access, Backend, Site
from infra.crds import TRAEFIK_KINDS
from infra.program import build
from tests.infra.recorder import is_secret, record, render
from tests.infra.samples import settings_of

CLUSTER_SCOPED = {"Namespace", "CustomResourceDefinition", "PersistentVolume"}
WORKLOADS = ("api", "controller", "traefik")


@pytest.fixture(scope="session")
def manifests(any_site):
    return render(settings_of(any_site))


@pytest.fixture(scope="session")
def testbed(testbed_site):
    return render(settings_of(testbed_site))


@pytest.fixture(scope="session")
def geddes(geddes_site):
    return render(settings_of(geddes_site))


def pods(manifests):
    return {
        name: deployment["spec"]["template"]["spec"] for name, deployment in manifests.of_kind("Deployment").items()
    }


def rules(manifests, name):
    """(API group, resource, verb) of a Role."""
    return {
        (group, resource, verb)
        for rule in manifests.get("Role", name)["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


class TestRecorder:
    """A recorder that sees nothing would let every other test here pass."""

    def test_records_what_is_declared(self):
        recorded = record(lambda: ConfigMap("a", metadata={"name": "a"}, data={"key": "value"}))
        assert recorded.manifests.get("ConfigMap", "a")["data"] == {"key": "value"}

    def test_fails_for_what_is_not_declared(self):
        recorded = record(lambda: ConfigMap("a", metadata={"name": "a"}))
        with pytest.raises(AssertionError, match="no ConfigMap b; there are: a"):
            recorded.manifests.get("ConfigMap", "b")

    def test_hands_on_errors_of_the_program(self):
        def program():
            raise pulumi.RunError("wrong")

        with pytest.raises(pulumi.RunError, match="wrong"):
            record(program)

    def test_hands_on_errors_of_inputs(self):
        def wrong(_):
            raise ValueError("wrong input")

        with pytest.raises(Exception, match="wrong input"):
            record(lambda: ConfigMap("a", metadata={"name": pulumi.Output.from_input("a").apply(wrong)}))


class TestNamespace:
    @pytest.mark.weakness(15)
    def test_enforces_restricted_pods(self, manifests, any_site):
        labels = manifests.get("Namespace", any_site.kubernetes.namespace)["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"

    def test_everything_else_is_in_it(self, manifests, any_site):
        for manifest in manifests:
            namespace = manifest["metadata"].get("namespace")
            expected = None if manifest["kind"] in CLUSTER_SCOPED else any_site.kubernetes.namespace
            assert namespace == expected, f"{manifest['kind']} {manifest['metadata']['name']}"

    def test_quota_is_the_sites(self, testbed):
        hard = testbed.get("ResourceQuota", "dask-gateway-k8s")["spec"]["hard"]
        assert hard == {"requests.cpu": "1000000m", "requests.memory": "2048000Mi", "pods": "500"}

    def test_limit_range_is_the_sites(self, testbed):
        (limit,) = testbed.get("LimitRange", "dask-gateway-k8s")["spec"]["limits"]
        assert limit["max"] == {"cpu": "64000m", "memory": "262144Mi"}
        assert limit["default"] == limit["defaultRequest"] == {"cpu": "1000m", "memory": "1024Mi"}


class TestDefinitions:
    def test_dask_cluster_is_ours_everywhere(self, manifests):
        (version,) = manifests.get("CustomResourceDefinition", "daskclusters.gateway.dask.org")["spec"]["versions"]
        assert version["subresources"] == {"status": {}}
        properties = version["schema"]["openAPIV3Schema"]["properties"]
        assert all(part["x-kubernetes-preserve-unknown-fields"] for part in properties.values())

    def test_traefik_kinds_only_where_the_site_says_so(self, testbed, geddes):
        kinds = {
            definition["spec"]["names"]["kind"] for definition in testbed.of_kind("CustomResourceDefinition").values()
        }
        assert kinds == {"DaskCluster", *TRAEFIK_KINDS}
        assert len(TRAEFIK_KINDS) == 10
        assert set(geddes.of_kind("CustomResourceDefinition")) == {"daskclusters.gateway.dask.org"}


class TestStorage:
    def test_claims_are_bound_to_their_volumes_and_back(self, testbed):
        for name, volume in testbed.of_kind("PersistentVolume").items():
            reference = volume["spec"]["claimRef"]
            claim = testbed.get("PersistentVolumeClaim", reference["name"])
            assert claim["spec"]["volumeName"] == name
            assert claim["metadata"]["namespace"] == reference["namespace"]
            assert claim["spec"]["accessModes"] == volume["spec"]["accessModes"]
            assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"

    def test_each_kind_of_source(self, geddes):
        volumes = geddes.of_kind("PersistentVolume")
        depot, eos = volumes["cms-dask-gateway-k8s-depot"]["spec"], volumes["cms-dask-gateway-k8s-eos"]["spec"]
        assert depot["nfs"] == {"server": "datadepot.rcac.purdue.edu", "path": "/depot/cms", "readOnly": False}
        assert eos["hostPath"] == {"path": "/eos/purdue", "type": "Directory"}
        claims = geddes.of_kind("PersistentVolumeClaim")
        assert claims["dask-gateway-k8s-cvmfs"]["spec"]["storageClassName"] == "cvmfs"
        assert set(claims) == {f"dask-gateway-k8s-{name}" for name in ("depot", "cvmfs", "eos")}, "/work's claim exists"

    @pytest.mark.weakness(21)
    def test_what_nobody_writes_is_read_only(self, manifests, any_site):
        for volume in any_site.storage:
            claim = manifests.of_kind("PersistentVolumeClaim").get(f"{any_site.kubernetes.release}-{volume.name}")
            if claim is not None:
                writable = Access.READ_WRITE in volume.access[Backend.KUBERNETES].values()
                assert claim["spec"]["accessModes"] == ["ReadWriteMany" if writable else "ReadOnlyMany"]


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

    @pytest.mark.weakness(13)
    def test_each_secret_is_seen_by_one_part(self, manifests, any_site):
        release = any_site.kubernetes.release
        seen = {
            name: [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume]
            for name, pod in pods(manifests).items()
        }
        assert {name: secrets for name, secrets in seen.items() if secrets} == {
            f"api-{release}": [f"hub-token-{release}"],
            f"traefik-{release}": [f"certificate-traefik-{release}"],
        }

    def test_traefik_makes_no_certificate_itself(self, manifests, any_site):
        release = any_site.kubernetes.release
        content = manifests.get("Secret", f"certificate-traefik-{release}")["data"]
        (container,) = pods(manifests)[f"traefik-{release}"]["containers"]
        (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "certificate"]
        (file,) = [text.partition("=")[2] for text in container["args"] if text.startswith("--providers.file.filename")]
        directory, _, name = file.rpartition("/")
        assert directory == mount["mountPath"]
        stores = yaml.safe_load(b64decode(content[name]))["tls"]["stores"]
        files = [path.rpartition("/") for path in stores["default"]["defaultCertificate"].values()]
        assert [(place, b64decode(content[name])[:11]) for place, _, name in files] == [(directory, b"-----BEGIN ")] * 2

    def test_controller_never_runs_twice(self, manifests, any_site):
        name = f"controller-{any_site.kubernetes.release}"
        spec = manifests.get("Deployment", name)["spec"]
        assert spec["replicas"] == 1
        assert spec["strategy"]["type"] == "Recreate"
        (container,) = spec["template"]["spec"]["containers"]
        assert ("startupProbe" in container, "readinessProbe" in container) == (True, False)
        assert "spec" not in manifests.get("Lease", name), "who holds it is not Pulumi's to say"

    @pytest.mark.parametrize("part", ["api", "traefik"])
    def test_what_takes_requests_is_replaced_without_a_gap(self, manifests, any_site, part):
        spec = manifests.get("Deployment", f"{part}-{any_site.kubernetes.release}")["spec"]
        assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
        pod = spec["template"]["spec"]
        (container,) = pod["containers"]
        drain = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert drain == 5
        assert "httpGet" in container["readinessProbe"]
        # Upstream's API lets a client wait for 20 s, and takes 15 s more at most to close.
        assert pod["terminationGracePeriodSeconds"] >= drain + 30

    @pytest.mark.parametrize("part", ["api", "traefik"])
    def test_a_drain_of_nodes_takes_one_pod_at_a_time(self, manifests, any_site, part):
        name = f"{part}-{any_site.kubernetes.release}"
        budget = manifests.get("PodDisruptionBudget", name)["spec"]
        assert budget["maxUnavailable"] == 1
        assert budget["selector"] == manifests.get("Deployment", name)["spec"]["selector"]

    def test_nothing_keeps_the_controllers_node_from_being_drained(self, manifests, any_site):
        assert f"controller-{any_site.kubernetes.release}" not in manifests.of_kind("PodDisruptionBudget")

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


class TestSecrets:
    def test_the_token_is_in_the_secret_alone(self, manifests, any_site):
        holders = [
            (manifest["kind"], manifest["metadata"]["name"])
            for manifest in manifests
            if "made-up-token" in yaml.safe_dump(manifest)
        ]
        assert holders == [("Secret", f"hub-token-{any_site.kubernetes.release}")]

    def test_all_are_encrypted_in_the_stacks_state(self, any_site):
        recorded = record(lambda: build(settings_of(any_site)))
        secrets = [args.inputs for args in recorded.resources if args.typ == "kubernetes:core/v1:Secret"]
        assert len(secrets) == 2
        assert all(is_secret(secret.get("stringData") or secret.get("data")) for secret in secrets)

    def test_gateways_read_the_site_that_was_rendered(self, manifests, any_site):
        text = manifests.get("ConfigMap", f"site-{any_site.kubernetes.release}")["data"]["site.yaml"]
        assert Site.model_validate(yaml.safe_load(text)) == any_site


class TestPool:
    @pytest.mark.weakness(14)
    def test_who_holds_an_account_is_kept_where_a_class_has_a_pool(self, testbed, geddes):
        assert "data" not in testbed.get("ConfigMap", "pool-holders-dask-gateway-k8s")
        assert "pool-holders-dask-gateway-k8s" not in geddes.of_kind("ConfigMap")


class TestRights:
    @pytest.mark.weakness(15)
    def test_are_in_the_namespace_only(self, manifests):
        assert not manifests.of_kind("ClusterRole")
        assert not manifests.of_kind("ClusterRoleBinding")

    def test_each_part_has_its_own_account(self, manifests, any_site):
        expected = {f"{part}-{any_site.kubernetes.release}" for part in WORKLOADS}
        for kind in ("ServiceAccount", "Role", "RoleBinding", "Deployment"):
            assert set(manifests.of_kind(kind)) == expected
        for name, pod in pods(manifests).items():
            assert pod["serviceAccountName"] == name

    @pytest.mark.weakness(15)
    def test_of_the_api(self, testbed):
        assert rules(testbed, "api-dask-gateway-k8s") == {
            *(("", "secrets", verb) for verb in ("get", "create")),
            *(("", "configmaps", verb) for verb in ("get", "patch")),
            *(
                ("gateway.dask.org", "daskclusters", verb)
                for verb in ("get", "list", "watch", "create", "patch", "delete")
            ),
        }

    @pytest.mark.weakness(14)
    def test_of_the_api_on_config_maps_are_for_the_pools_alone(self, testbed):
        found = [rule for rule in testbed.get("Role", "api-dask-gateway-k8s")["rules"] if "resourceNames" in rule]
        (rule,) = [rule for rule in found if "configmaps" in rule["resources"]]
        assert rule["resourceNames"] == ["pool-holders-dask-gateway-k8s"]

    def test_of_the_api_without_a_pool_end_at_its_own_kinds(self, geddes):
        assert not any(resource == "configmaps" for _, resource, _ in rules(geddes, "api-dask-gateway-k8s"))

    @pytest.mark.weakness(15)
    def test_of_the_controller_on_secrets(self, testbed):
        found = {verb for _, resource, verb in rules(testbed, "controller-dask-gateway-k8s") if resource == "secrets"}
        assert found == {"create", "delete"}

    def test_of_the_controller_on_leases_are_for_its_own_alone(self, testbed):
        name = "controller-dask-gateway-k8s"
        (rule,) = [rule for rule in testbed.get("Role", name)["rules"] if "leases" in rule["resources"]]
        assert (rule["resourceNames"], set(rule["verbs"])) == ([name], {"get", "patch"})

    def test_of_traefik_are_reading_only(self, testbed):
        assert {verb for _, _, verb in rules(testbed, "traefik-dask-gateway-k8s")} == {"list", "watch"}


class TestNames:
    """The names that the user guide and the site promise."""

    def test_services(self, manifests, any_site):
        services = manifests.of_kind("Service")
        api, traefik = services["api-dask-gateway-k8s"], services["traefik-dask-gateway-k8s"]
        assert [port["port"] for port in api["spec"]["ports"]] == [8000]
        assert {port["name"]: port["port"] for port in traefik["spec"]["ports"]} == {"web": 80, "scheduler": 8786}
        front = services["api-dask-gateway-k8s-slurm"]
        assert "selector" not in front["spec"]
        assert [port["port"] for port in front["spec"]["ports"]] == [8000]

    def test_ingresses(self, manifests):
        hosts = {
            manifest["spec"]["rules"][0]["host"]: manifest["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
            for manifest in manifests.of_kind("Ingress").values()
        }
        assert hosts == {
            "dask-gateway-k8s.geddes.rcac.purdue.edu": {"name": "traefik-dask-gateway-k8s", "port": {"number": 80}},
            "dask-gateway-k8s-slurm.geddes.rcac.purdue.edu": {
                "name": "api-dask-gateway-k8s-slurm",
                "port": {"number": 8000},
            },
        }

    def test_the_front_leads_to_the_submission_host(self, manifests, any_site):
        slices = manifests.of_kind("EndpointSlice")
        assert "api-dask-gateway-k8s-slurm" in slices
        for name, endpoint_slice in slices.items():
            assert endpoint_slice["metadata"]["labels"]["kubernetes.io/service-name"] == name
            assert endpoint_slice["endpoints"][0]["addresses"] == [any_site.slurm.submission_address]
            service_port = manifests.get("Service", name)["spec"]["ports"][0]["name"]
            assert endpoint_slice["ports"][0]["name"] == service_port

    @pytest.mark.weakness(2)
    def test_geddes_has_load_balancers_of_the_private_pool(self, geddes):
        exposed = {
            name: service["metadata"]["annotations"]["metallb.universe.tf/address-pool"]
            for name, service in geddes.of_kind("Service").items()
            if service["spec"].get("type") == "LoadBalancer"
        }
        assert exposed == {
            "traefik-dask-gateway-k8s": "geddes-private-pool",
            "api-dask-gateway-k8s-slurm": "geddes-private-pool",
        }

    def test_a_nodes_web_port_is_left_to_the_ingress_controller(self, testbed):
        taken = {
            port["port"]
            for service in testbed.of_kind("Service").values()
            if service["spec"].get("externalIPs")
            for port in service["spec"]["ports"]
        }
        assert taken == {8786, 8000}


class TestProxy:
    def test_both_throttles_are_off(self, manifests):
        (container,) = pods(manifests)["traefik-dask-gateway-k8s"]["containers"]
        assert "--providers.kubernetescrd.throttleduration=0" in container["args"]
        assert "--providers.providersthrottleduration=0s" in container["args"]

    def test_connections_to_schedulers_outlive_it(self, manifests, any_site):
        """A client that loses its connection cancels all of its futures; no connection is older than its cluster."""
        lifetime = any_site.kubernetes.timeouts.lifetime_seconds
        pod = pods(manifests)["traefik-dask-gateway-k8s"]
        (container,) = pod["containers"]
        assert f"--entrypoints.scheduler.transport.lifecycle.gracetimeout={lifetime}s" in container["args"]
        assert pod["terminationGracePeriodSeconds"] > lifetime

    @pytest.mark.weakness(15)
    def test_looks_at_nothing_outside_of_the_namespace(self, manifests, any_site):
        (container,) = pods(manifests)["traefik-dask-gateway-k8s"]["containers"]
        assert f"--providers.kubernetescrd.namespaces={any_site.kubernetes.namespace}" in container["args"]
        assert "--providers.kubernetescrd.disableclusterscoperesources=true" in container["args"]

    def test_sees_our_own_routes(self, manifests, any_site):
        ours = [*manifests.of_kind("IngressRoute").values(), *manifests.of_kind("Middleware").values()]
        assert len(ours) == 3
        for manifest in ours:
            assert manifest["metadata"]["labels"]["gateway.dask.org/instance"] == any_site.kubernetes.release


class TestNetwork:
    @pytest.mark.weakness(15)
    def test_everything_of_the_gateway_is_closed_and_nothing_else(self, manifests, any_site):
        closed = manifests.get("NetworkPolicy", f"{any_site.kubernetes.release}-closed")["spec"]
        assert closed["ingress"] == []
        assert closed["podSelector"]["matchLabels"]["app.kubernetes.io/instance"] == any_site.kubernetes.release

    @pytest.mark.weakness(15)
    def test_each_component_has_its_flows(self, manifests, any_site):
        flows = {
            name.removeprefix(f"{any_site.kubernetes.release}-"): [
                (
                    tuple(
                        peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
                        for peer in rule.get("from", ())
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
            "api": [(("traefik", "dask-scheduler"), (8000,))],
            "traefik": [((), (8000, 8786))],
            "dask-scheduler": [
                (("traefik",), (8786, 8787)),
                (("api",), (8788,)),
                (("dask-worker",), (8786,)),
            ],
            "dask-worker": [(("dask-scheduler", "dask-worker"), ())],
        }

    def test_controller_is_reached_by_nobody(self, testbed):
        for policy in testbed.of_kind("NetworkPolicy").values():
            selected = policy["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/component")
            assert selected != "controller"


class TestMetrics:
    """They are for Prometheus alone."""

    def test_api_and_controller_tell_where_they_are(self, manifests, any_site):
        for part in ("api", "controller"):
            template = manifests.get("Deployment", f"{part}-{any_site.kubernetes.release}")["spec"]["template"]
            annotations = template["metadata"]["annotations"]
            (container,) = template["spec"]["containers"]
            ports = {port["name"]: port["containerPort"] for port in container["ports"]}
            assert ports == {"http": 8000, "metrics": 9464}
            assert annotations["prometheus.io/scrape"] == "true"
            assert annotations["prometheus.io/port"] == str(ports["metrics"])
            assert annotations["prometheus.io/path"] == "/metrics"

    def test_no_service_and_no_route_leads_to_them(self, manifests):
        for kind in ("Service", "Ingress", "IngressRoute"):
            for manifest in manifests.of_kind(kind).values():
                assert "metrics" not in yaml.safe_dump(manifest["spec"])
                assert "9464" not in yaml.safe_dump(manifest["spec"])

    def test_prometheus_reaches_them_and_nothing_else(self, geddes, geddes_site):
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

    def test_nobody_reaches_them_where_the_site_names_no_prometheus(self, testbed):
        for policy in testbed.of_kind("NetworkPolicy").values():
            assert "9464" not in yaml.safe_dump(policy["spec"])

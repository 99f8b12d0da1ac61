"""A controller and the Kubernetes that it talks to, kept in memory, with a clock that stands still."""

import asyncio
import collections
import dataclasses
import itertools
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from dask_gateway_server.backends.kubernetes.backend import KubeClusterConfig
from dask_gateway_server.backends.kubernetes.controller import ClusterInfo, KubeController
from dask_gateway_server.utils import FrozenAttrDict
from dask_gateway_server.workqueue import WorkQueue
from kubernetes_asyncio import client
from kubernetes_asyncio.client.rest import ApiException

from gateway.kubernetes.controller.client import StrictClient
from gateway.kubernetes.controller.configuration import controller_config
from gateway.kubernetes.controller.controller import FacilityKubeController
from gateway.kubernetes.pods import cluster_config
from tests.unit.kubernetes.samples import ALICE, People, spec_of

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
"""The present moment of every world."""
NAMESPACE = "cms-dask"
"""The namespace of clusters in the testbed's site."""


class Cache:
    """Stands in for an informer: a cache that tests fill."""

    def __init__(self):
        self.cache = {}

    def get(self, key, default=None):
        return self.cache.get(key, default)


class Queue(WorkQueue):
    """Upstream's queue, which notes delays instead of waiting for them."""

    def __init__(self):
        super().__init__()
        self.delays = {}
        """Key of a cluster -> seconds until it is due."""

    def put_after(self, item, delay):
        self.delays[item] = min(delay, self.delays.get(item, delay))

    async def drain(self):
        """Return the keys of all clusters that are due now, and take them out."""
        found = set()
        while not self.is_empty():
            item = await self.get()
            self.task_done(item)
            found.add(item)
        return found


class Kubernetes:
    """Kubernetes' API server: it creates pods at once, and the informer learns of them when the test says so."""

    def __init__(self):
        self.pods, self.deleted, self.secrets, self.statuses = {}, [], set(), {}
        self.policies = {}
        self.refusals = collections.deque()
        self.events = []
        self.api_conditions = availability(7200, "True")
        self.api_replicas = 2
        self.routes = []
        """Services, EndpointSlices and Traefik routes that were created."""
        self._numbers = itertools.count()

    def _answer(self):
        if self.refusals:
            refusal = self.refusals.popleft()
            if refusal is not None:
                raise refusal

    async def create_namespaced_pod(self, namespace, pod):
        await asyncio.sleep(0)
        self._answer()
        name = pod["metadata"].get("name") or f"{pod['metadata']['generateName']}{next(self._numbers)}"
        if name in self.pods:
            raise conflict("AlreadyExists")
        self.pods[name] = {
            **pod,
            "metadata": {**pod["metadata"], "name": name, "namespace": namespace, "uid": f"uid-{name}"},
            "status": {"phase": "Pending"},
        }
        return SimpleNamespace(metadata=SimpleNamespace(name=name), pod=self.pods[name])

    async def delete_namespaced_pod(self, name, namespace):
        self._answer()
        if name not in self.pods:
            raise ApiException(status=404)
        self.deleted.append(name)
        self.pods[name]["metadata"]["deletionTimestamp"] = "2026-11-25T00:00:00Z"

    async def create_namespaced_secret(self, namespace, secret):
        self.secrets.add(secret["metadata"]["name"])

    async def create_namespaced_network_policy(self, namespace, policy):
        name = policy["metadata"]["name"]
        if name in self.policies:
            raise conflict("AlreadyExists")
        self.policies[name] = {**policy, "pods_before": list(self.pods)}

    async def delete_namespaced_network_policy(self, name, namespace):
        if self.policies.pop(name, None) is None:
            raise ApiException(status=404)

    async def delete_namespaced_secret(self, name, namespace):
        if name not in self.secrets:
            raise ApiException(status=404)
        self.secrets.remove(name)

    async def create_namespaced_service(self, namespace, service):
        self.routes.append({"kind": "Service", **service})

    async def create_namespaced_endpoint_slice(self, namespace, endpoint_slice):
        self._answer()
        self.routes.append(endpoint_slice)

    async def delete_namespaced_endpoint_slice(self, name, namespace):
        remaining = [
            item for item in self.routes if (item["kind"], item["metadata"]["name"]) != ("EndpointSlice", name)
        ]
        if len(remaining) == len(self.routes):
            raise ApiException(status=404)
        assert not self.deleted, "the EndpointSlice goes before the pod"
        self.routes = remaining

    async def create_namespaced_custom_object(self, group, version, namespace, plural, item):
        self.routes.append(item)

    async def read_namespaced_deployment(self, name, namespace):
        assert (name, namespace) == ("api-dask-gateway-k8s", "cms")
        status = client.V1DeploymentStatus(available_replicas=self.api_replicas, conditions=self.api_conditions)
        return client.V1Deployment(status=status)

    async def list_namespaced_event(self, namespace, field_selector):
        assert namespace == NAMESPACE
        assert field_selector.startswith("involvedObject.uid=uid-")
        return {"items": self.events}

    async def patch_namespaced_custom_object_status(self, group, version, namespace, plural, name, changes):
        self.statuses[name] = changes[0]["value"]


def stamp(age):
    """Return a moment so many seconds ago, as Kubernetes writes it."""
    return (NOW - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ")


def availability(seconds, status):
    """Return the conditions of a Deployment that became available, or not available, so many seconds ago."""
    changed = NOW - timedelta(seconds=seconds)
    return [
        client.V1DeploymentCondition(type="Progressing", status="True"),
        client.V1DeploymentCondition(type="Available", status=status, last_transition_time=changed),
    ]


def conflict(reason):
    error = ApiException(status=409, reason="Conflict")
    error.body = json.dumps({"reason": reason, "message": "the object has been modified"})
    return error


class World:
    """A controller, the Kubernetes that it talks to, and the clusters of users."""

    def __init__(self, site, kind=FacilityKubeController, *, kubernetes=None, is_strict=False):
        """``is_strict``: the controller has its own client, as in production."""
        self.site, self.kubernetes, self.kind = site, kubernetes or Kubernetes(), kind
        self.working_seconds = 7200.0
        self.controller = kind(config=controller_config(site))
        self.controller.core_client = StrictClient(self.kubernetes, Unlimited()) if is_strict else self.kubernetes
        self.controller.custom_client = self.controller.discovery_client = self.kubernetes
        self.controller.networking_client = self.controller.apps_client = self.kubernetes
        self.controller.api_client = SimpleNamespace(
            sanitize_for_serialization=lambda found: getattr(found, "pod", found)
        )
        self.controller.informers = {name: Cache() for name in ("cluster", "pod")}
        self.controller.stopped_clusters = {}
        self.controller.queue = Queue()
        if kind is KubeController:
            self.controller.cluster_info = collections.defaultdict(ClusterInfo)
            # Upstream's behaviour with our pods: the pods do not differ here.
            self.controller.make_pod = FacilityKubeController(config=controller_config(site)).make_pod
        else:
            self.directory = People()
            self.controller.assemble(self.directory, working_seconds=lambda: self.working_seconds, now=lambda: NOW)

    def cluster(self, name, request=ALICE, *, replicas=0, age=0, phase="Running", **spec):
        cluster = {
            "apiVersion": "gateway.dask.org/v1alpha1",
            "kind": "DaskCluster",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "uid": f"uid-{name}",
                "creationTimestamp": stamp(age),
            },
            "spec": {**spec_of(self.site, request), "replicas": replicas, **spec},
            "status": {"phase": phase, "schedulerPod": f"dask-scheduler-{name}"} if phase == "Running" else {},
        }
        if self.kind is KubeController:
            # Upstream's controller takes everything about the pods from the spec.
            cluster["spec"]["config"] = KubeClusterConfig(**cluster_config(self.site, request)).to_dict()
        self.controller.informers["cluster"].cache[f"{NAMESPACE}.{name}"] = cluster
        return cluster

    async def running(self, name, request=ALICE, **options):
        """Return a cluster whose scheduler runs."""
        cluster = self.cluster(name, request, **options)
        config = KubeClusterConfig(**cluster_config(self.site, request)).to_dict()
        pod = self.controller.make_pod(NAMESPACE, name, FrozenAttrDict(config))
        await self.kubernetes.create_namespaced_pod(NAMESPACE, pod)
        self.becomes(f"dask-scheduler-{name}", "running")
        return cluster

    def becomes(self, name, container=None, phase=None):
        """Set the state of a pod's container, and tell the controller."""
        pod = self.kubernetes.pods[name]
        component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
        statuses = [{"name": component, "state": {container: {"exitCode": 1}}}] if container else []
        pod["status"] = {
            "phase": phase or ("Running" if container == "running" else "Pending"),
            "containerStatuses": statuses,
        }
        self.news()

    def news(self, *names):
        """Let the informer of pods tell the state of these pods, or of all."""
        cache = self.controller.informers["pod"].cache
        for name, pod in list(self.kubernetes.pods.items()):
            if not names or name in names:
                old, new = cache.get(f"{NAMESPACE}.{name}"), json.loads(json.dumps(pod))
                cache[f"{NAMESPACE}.{name}"] = new
                self.controller.on_pod_update(new, old=old)

    def gone(self, name):
        """Remove a deleted pod, and tell the controller."""
        self.kubernetes.pods.pop(name)
        self.controller.on_pod_delete(self.controller.informers["pod"].cache.pop(f"{NAMESPACE}.{name}"))

    async def step(self, cluster):
        status, requeue = await self.controller.handle_cluster(cluster)
        if status is not None:
            cluster["status"] = status
        return requeue

    def workers(self, cluster):
        found = [name for name in self.kubernetes.pods if name.startswith(f"dask-worker-{cluster}-")]
        return [name for name in found if "deletionTimestamp" not in self.kubernetes.pods[name]["metadata"]]

    async def queued(self):
        """Return the clusters that the controller is about to reconcile, and take them out of its queue."""
        return await self.controller.queue.drain()


def sized(cores, gib=1, request=ALICE):
    return dataclasses.replace(request, worker_cores=float(cores), worker_memory_bytes=gib * 2**30)


class Unlimited:
    """A rate limiter that never waits."""

    async def acquire(self):
        pass

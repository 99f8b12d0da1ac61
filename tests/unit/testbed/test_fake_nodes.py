"""Test fake nodes and the watch of pods: the objects sent to Kubernetes, and the events read from it."""

import json

import pytest

from testbed import fake_nodes, pod_watch
from testbed.fake_nodes import Capacity
from testbed.pod_watch import Event
from testbed.toolchain.programs import KWOK_BUILD, KWOK_STAGES


def test_a_fake_node_takes_nothing_until_it_is_told():
    node = fake_nodes.described("fake-0", Capacity(cores=64, memory_gib=256), {"zone": "a"})
    assert node["spec"]["taints"] == [{"key": fake_nodes.CLOSED, "effect": "NoSchedule"}]
    assert node["metadata"]["labels"] == {"zone": "a", "kubernetes.io/hostname": "fake-0", fake_nodes.LABEL: "true"}


def test_a_fake_node_has_what_it_is_given():
    node = fake_nodes.described("fake-0", Capacity(cores=1.5, memory_gib=0.5, pods=3))
    assert node["status"]["allocatable"] == {"cpu": "1.5", "memory": "0.5Gi", "pods": "3"}
    assert node["status"]["capacity"] == node["status"]["allocatable"]


def test_only_fake_nodes_are_managed():
    key, value = fake_nodes.MANAGED
    assert fake_nodes.described("fake-0", Capacity(1, 1))["metadata"]["annotations"] == {key: value}


def test_no_selector_of_kubeadm_finds_a_fake_node():
    labels = fake_nodes.described("fake-0", Capacity(1, 1))["metadata"]["labels"]
    assert "kubernetes.io/os" not in labels


def test_an_ended_pod_is_over_and_keeps_its_place():
    pod = {
        "metadata": {"name": "a", "resourceVersion": "7", "uid": "u"},
        "spec": {"nodeName": "fake-0"},
        "status": {
            "phase": "Running",
            "podIP": "10.244.1.1",
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [{"name": "dask-worker", "ready": True, "state": {"running": {"startedAt": "now"}}}],
        },
    }
    ended = fake_nodes.ended(pod)
    assert ended["metadata"] == {"name": "a", "uid": "u"}
    assert ended["spec"] == pod["spec"]
    assert (ended["status"]["phase"], ended["status"]["podIP"]) == ("Succeeded", "10.244.1.1")
    assert [condition["status"] for condition in ended["status"]["conditions"]] == ["False", "True"]
    (container,) = ended["status"]["containerStatuses"]
    assert container["state"] == {"terminated": {"exitCode": 0, "reason": "Completed"}}
    assert pod["status"]["phase"] == "Running"


def test_the_build_of_kwok_brings_its_stages():
    assert KWOK_BUILD.data_files.keys() == KWOK_STAGES.keys()
    assert KWOK_BUILD.data_files["pod-ready.yaml"] == "sigs.k8s.io/kwok//kustomize/stage/pod/fast/pod-ready.yaml"


SEEN = [Event(*news.split()) for news in ("ADDED a", "ADDED b", "MODIFIED a", "DELETED b", "ADDED c", "MODIFIED c")]


def test_pods_that_came_and_went_were_made():
    assert pod_watch.made(SEEN) == {"a", "b", "c"}


def test_the_most_at_a_time_is_not_all_that_were():
    assert pod_watch.most(SEEN) == 2
    assert pod_watch.most([]) == 0


def test_a_deleted_pod_is_no_more():
    assert pod_watch.most([Event("DELETED", "a"), Event("ADDED", "b")]) == 1


@pytest.fixture
def watch(monkeypatch):
    monkeypatch.setattr(pod_watch, "_version_of", lambda path: "1")
    return pod_watch.Watch("/api/v1/namespaces/cms/pods?")


def line(kind, **of):
    return json.dumps({"type": kind, "object": of}).encode()


def test_a_line_that_is_not_complete_comes_again(watch):
    news = line("ADDED", metadata={"name": "a", "resourceVersion": "2"})
    watch.take(news)
    assert watch.events() == []
    watch.take(news + b"\n")
    assert watch.events() == [Event("ADDED", "a")]


def test_events_that_kubernetes_has_forgotten_are_told(watch):
    watch.take(line("ERROR", message="too old resource version") + b"\n")
    with pytest.raises(RuntimeError, match="too old"):
        watch.events()

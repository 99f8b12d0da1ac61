"""Test the bench's arithmetic, its tables, and its parsers; no test measures time."""

import ast
import contextlib
import dataclasses
import os
import string

import pytest
import yaml

from testbed.bench import ended_clusters, gateways, processor_time, squeue
from testbed.bench.figures import Goal, Result, Statistic, duration, row
from testbed.bench.sides import OURS, STOCK
from testbed.bench.stock import configuration, kubernetes, slurm

PREFIX = "/depot/cms/projects/analysis/.pixi/envs/default"


def test_statistics_are_numpys():
    values = [float(number) for number in range(1, 12)]
    assert Statistic.MEDIAN.of(values) == 6
    assert Statistic.P95.of(values) == pytest.approx(10.5)
    assert Statistic.P95.of([3.0]) == Statistic.MEDIAN.of([3.0]) == 3


def test_a_goal_is_a_multiple_of_stocks():
    reached = Result("what", ours=[1.0, 2.0, 3.0], stock=[5.0], goal=Goal(0.4))
    assert (reached.ratio, reached.is_reached) == (0.4, True)
    assert not dataclasses.replace(reached, ours=[2.1]).is_reached


def test_nothing_is_as_little_as_nothing():
    assert Result("what", ours=[0.0], stock=[0.0], goal=Goal(1)).is_reached
    assert not Result("what", ours=[0.01], stock=[0.0], goal=Goal(1)).is_reached


def test_a_goal_may_be_about_the_slowest():
    result = Result("what", ours=[1.0, 1.0, 9.0], stock=[2.0, 2.0, 2.0], goal=Goal(1))
    assert result.is_reached
    assert not dataclasses.replace(result, goal=Goal(1, Statistic.P95)).is_reached


def test_a_goal_is_seconds_where_stock_has_nothing_like_it():
    assert Result("what", ours=[0.004], goal=Goal(0.005)).is_reached
    assert not Result("what", ours=[0.006], goal=Goal(0.005)).is_reached


def test_no_goal_is_reached_with_an_error_of_ours():
    result = Result("what", ours=[1.0], stock=[2.0], goal=Goal(1), errors={OURS: ["TimeoutError()"]})
    assert result.is_reached is False
    # Without a value to compare with, no goal is reached.
    failed = Result("what", ours=[1.0], goal=Goal(1), errors={STOCK: ["TimeoutError()"]})
    assert failed.is_reached is None


def test_the_table_says_all_that_was_found():
    results = [
        Result("a start", ours=[1.0, 1.5], stock=[4.0, 4.0], goal=Goal(0.4)),
        Result("a crowd", ours=[1.0], stock=[0.5], goal=Goal(1, Statistic.P95), errors={STOCK: ["one", "two"]}),
        Result("a check", ours=[0.00034], goal=Goal(0.005)),
        Result("a refusal", ours=[0.5]),
    ]
    assert [row(result) for result in results] == [
        "| a start | 1.25 s (1.48 s) | 4.00 s (4.00 s) | 0.31 | 0.4 x | yes |",
        "| a crowd | 1.00 s (1.00 s) | 0.50 s (0.50 s), 2 errors | 2.00 | 1 x (p95) | **no** |",
        "| a check | 0.34 ms (0.34 ms) |  |  | 5 ms | yes |",
        "| a refusal | 0.50 s (0.50 s) |  |  |  |  |",
    ]


def test_durations_are_short():
    assert [duration(seconds) for seconds in (0.00034, 0.0214, 0.5, 20.91)] == [
        "0.34 ms",
        "21.4 ms",
        "0.50 s",
        "20.91 s",
    ]


def test_results_are_kept_whole():
    kept = Result("what", ours=[1.0, 2.0], stock=[5.0], goal=Goal(0.4)).as_json()
    assert (kept["ours"], kept["stock"], kept["ratio"], kept["reached"]) == ([1.0, 2.0], [5.0], 0.3, True)


def test_sides_take_turns():
    assert list(gateways.turns(3)) == [(OURS, STOCK), (STOCK, OURS), (OURS, STOCK)]


LINES = ("10.0 7 ", "11.0 7 8 ", "12.0 7 8 9_0 9_1 ", "13.0 7 9_1 ", "14.0 7 ", "15.0 ")
"""Job 7 was in the queue before; a scheduler 8 and an array of two arrive and end."""


def test_jobs_come_and_go_beside_those_that_were_there():
    looks = [squeue.parsed(line) for line in LINES]
    before = looks[0].jobs
    assert squeue.seconds_until(looks, 10.5, 3, before) == 1.5
    assert squeue.seconds_until_gone(looks, 12.5, before) == 1.5
    # Before they arrived, the queue held no new job either.
    assert squeue.seconds_until_gone(looks, 10.5, before) == 3.5
    assert squeue.seconds_until(looks, 10.5, 4, before) is None
    assert squeue.seconds_until_gone(looks[:4], 12.5, before) is None


def test_processor_time_is_a_process_own_and_its_childrens():
    process = f"42 (a ) b) S {' '.join(['1'] * 10)} 100 20 3 4 {' '.join(['9'] * 20)}"
    threads = ["2500000 7 300", "1000 8 1"]
    expected = 2 * 7 / os.sysconf("SC_CLK_TCK") + 0.002501
    assert processor_time.seconds_of([process, *threads, process]) == pytest.approx(expected)


def test_processes_that_were_replaced_are_not_measured():
    assert processor_time.spent(3.0, 3.5) == 0.5
    with pytest.raises(RuntimeError, match="restarted"):
        processor_time.spent(3.0, 1.0)


def test_copies_of_a_cluster_are_over_before_they_begin():
    original = {
        "apiVersion": "gateway.dask.org/v1alpha1",
        "kind": "DaskCluster",
        "metadata": {"name": "a1", "namespace": "cms", "labels": {"instance": "x"}, "uid": "u", "finalizers": ["f"]},
        "spec": {"username": "alice", "active": True, "replicas": 3},
        "status": {"phase": "Running"},
    }
    made = ended_clusters.copies(original, 3)
    assert len({copy["metadata"]["name"] for copy in made}) == 3
    for copy in made:
        assert copy["spec"] == {**original["spec"], "active": False}
        assert set(copy["metadata"]["labels"]) == {"instance", ended_clusters.LABEL}
        assert not {"uid", "finalizers"} & set(copy["metadata"])
        assert "status" not in copy


def configured(text):
    """Return the settings of a configuration file that are literals, by name."""
    literals = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign):
            with contextlib.suppress(ValueError):
                literals[ast.unparse(node.targets[0])] = ast.literal_eval(node.value)
    return literals


def test_both_sides_have_the_same_sizes(testbed_site):
    settings = configured(configuration.kubernetes_api(testbed_site, "stock", PREFIX))
    scheduler = testbed_site.kubernetes.scheduler
    assert settings["c.KubeClusterConfig.scheduler_cores"] == scheduler.cores
    assert settings["c.KubeClusterConfig.scheduler_memory"] == scheduler.memory_gib * 2**30
    assert settings["c.KubeClusterConfig.worker_cmd"] == [f"{PREFIX}/bin/dask", "worker"]
    settings = configured(
        configuration.slurm_server(testbed_site, port=1, api_port=2, prefix=PREFIX, staging_directory="/depot/x")
    )
    assert settings["c.SlurmClusterConfig.scheduler_memory"] == testbed_site.slurm.scheduler.memory_gib * 2**30
    assert settings["c.SlurmClusterConfig.partition"] == testbed_site.slurm.worker_jobs.partition


def test_pods_of_stock_can_not_change_the_users_files(testbed_site):
    settings = configured(configuration.kubernetes_api(testbed_site, "stock", PREFIX))
    for role in ("scheduler", "worker"):
        mounts = settings[f"c.KubeClusterConfig.{role}_extra_container_config"]["volumeMounts"]
        assert {mount["mountPath"] for mount in mounts} >= {"/depot/cms"}
        assert all(mount["readOnly"] for mount in mounts)


def test_the_manifest_is_complete_and_apart_from_ours(testbed_site):
    text = kubernetes.manifest(testbed_site, testbed_site.kubernetes.images, PREFIX)
    objects = list(yaml.safe_load_all(text))
    assert {found["kind"] for found in objects if "namespace" not in found["metadata"]} == {
        "Namespace",
        "ClusterRole",
        "ClusterRoleBinding",
    }
    assert {found["metadata"]["namespace"] for found in objects if "namespace" in found["metadata"]} == {"stock"}
    cluster_wide = {
        f"{found['kind'].lower()}/{found['metadata']['name']}"
        for found in objects
        if found["kind"].startswith("ClusterR")
    }
    assert cluster_wide == set(kubernetes.CLUSTER_WIDE)
    (files,) = (found["data"] for found in objects if found["kind"] == "ConfigMap")
    assert configured(files["controller.py"])["c.KubeController.gateway_instance"] == "stock"
    assert not string.Template(text).get_identifiers()


def test_stock_may_act_as_our_users_by_its_launcher_only(testbed_site):
    text = slurm.sudoers(testbed_site)
    assert text == (
        "stock-dask-gateway ALL=(%cms, !root) NOPASSWD: /opt/stock-dask-gateway/bin/dask-gateway-jobqueue-launcher\n"
    )

"""Causes and reasons of clusters that did not start or have ended."""

import pytest

from gateway.kubernetes.controller import reasons
from gateway.service.termination import EndCause, StartFailure, Termination


def scheduler_pod(state=None, **status):
    statuses = [{"name": "dask-scheduler", "state": state or {}}]
    return {"status": {"containerStatuses": statuses, **status}}


@pytest.mark.parametrize(
    ("pod", "failure", "reason"),
    [
        (
            scheduler_pod({"terminated": {"exitCode": 78, "message": "no pixi.toml"}}),
            StartFailure.PREFLIGHT,
            "no pixi.toml",
        ),
        (
            scheduler_pod({"terminated": {"exitCode": 1, "message": "secret", "reason": "Error"}}),
            StartFailure.JOB_ENDED,
            "The scheduler ended before it was ready (Error, exit code 1).",
        ),
        (
            scheduler_pod({"terminated": {"exitCode": 78, "reason": "Error"}}),
            StartFailure.JOB_ENDED,
            "The scheduler ended before it was ready (Error, exit code 78).",
        ),
        (
            scheduler_pod(),
            StartFailure.JOB_ENDED,
            "The scheduler ended before it was ready (Unknown, exit code unknown).",
        ),
        (
            {"status": {}},
            StartFailure.JOB_ENDED,
            "The scheduler ended before it was ready (Unknown, exit code unknown).",
        ),
    ],
)
def test_schedulers_that_ended_before_they_were_ready(pod, failure, reason):
    assert reasons.of_end(pod, ran=False) == Termination(failure, reason)


def test_schedulers_that_ended_later():
    pod = scheduler_pod({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})
    killed = Termination(EndCause.FAILED, "The scheduler ended (OOMKilled, exit code 137).")
    assert reasons.of_end(pod, ran=True) == killed
    evicted = {"status": {"phase": "Failed", "reason": "Evicted"}}
    assert reasons.of_end(evicted, ran=True).reason == "The scheduler ended (Evicted, exit code unknown)."


MOUNT = {"type": "Warning", "reason": "FailedMount", "message": "hostPath type check failed:\n/srv is not a directory"}


@pytest.mark.parametrize(
    ("pod", "events", "failure", "why"),
    [
        (None, [], StartFailure.OTHER, "Kubernetes did not accept the scheduler's pod."),
        (
            scheduler_pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: no memory"}]),
            [],
            StartFailure.UNSCHEDULABLE,
            "no node takes the scheduler's pod (0/1 nodes: no memory)",
        ),
        (
            scheduler_pod({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}),
            [MOUNT],
            StartFailure.IMAGE,
            "no such image (ImagePullBackOff)",
        ),
        (
            scheduler_pod({"waiting": {"reason": "CreateContainerConfigError", "message": "no such key"}}),
            [],
            StartFailure.OTHER,
            "no such key (CreateContainerConfigError)",
        ),
        (
            scheduler_pod({"waiting": {"reason": "ContainerCreating"}}),
            [{"type": "Normal", "message": "x"}, MOUNT],
            StartFailure.MOUNT,
            "hostPath type check failed: /srv is not a directory (FailedMount)",
        ),
        (
            scheduler_pod({"waiting": {"reason": "ContainerCreating"}}),
            [],
            StartFailure.OTHER,
            "the scheduler's pod waits (ContainerCreating).",
        ),
        (scheduler_pod({"running": {}}), [MOUNT], StartFailure.NO_ANSWER, "the scheduler runs, but does not answer."),
    ],
)
def test_schedulers_that_do_not_start(pod, events, failure, why):
    assert reasons.of_delay(pod, events, 120) == Termination(failure, f"The cluster did not start within 120 s: {why}")


def test_reasons_are_one_line_of_bounded_length():
    reason = reasons.of_delay(scheduler_pod({"waiting": {"message": "long\n" * 500}}), [], 120).reason
    assert "\n" not in reason
    assert len(reason) < 420

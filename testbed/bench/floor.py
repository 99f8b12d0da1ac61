"""Lower bounds for every gateway: how long Kubernetes and SLURM take to start a program that does nothing."""

import time

from testbed import cluster, docker, submission

POD = "bench-nothing"


def pod_seconds(namespace: str, image: str) -> float:
    """Return the seconds from the request for a pod until it is ready; they include two calls of kubectl."""
    run = ("--image", image, "--image-pull-policy=IfNotPresent", "--restart=Never", "--command", "--", "sleep", "60")
    here = ("--namespace", namespace)
    started = time.perf_counter()
    try:
        cluster.kubectl(*here, "run", POD, *run)
        cluster.kubectl(*here, "wait", "--for=condition=Ready", f"pod/{POD}", "--timeout=60s")
        return time.perf_counter() - started
    finally:
        cluster.kubectl(*here, "delete", "pod", POD, "--ignore-not-found", "--now")


def job_seconds(account: str, slurm_account: str, partition: str) -> float:
    """Return the seconds from the submission of a batch job until it runs; they include a call of docker."""
    output = f"/depot/cms/users/{account}/bench-nothing"
    where = ("--account", slurm_account, "--partition", partition, "--chdir", "/", "--output", output)
    submit = ("sbatch", "--wait", *where, "--wrap", "date +%s.%N")
    started = time.time()
    try:
        docker.execute(submission.CONTAINER, ["runuser", "-u", account, "--", *submit])
        return float(docker.execute(submission.CONTAINER, ["cat", output])) - started
    finally:
        docker.execute(submission.CONTAINER, ["rm", "-f", output])

"""The processor time that gateways take, as the kernel counts it."""

import os
from collections.abc import Iterable

from gateway.kubernetes import names
from testbed import cluster, docker

OF_CHILDREN = slice(13, 15)
"""Positions of user and system time of ended children among the fields after the command's name in /proc/PID/stat, in
clock ticks (``man 5 proc``)."""
SCRIPT = """
for file in $(grep -lE "$1" /proc/[0-9]*/cgroup 2>/dev/null); do
  cat "${file%/cgroup}/stat" "${file%/cgroup}"/task/*/schedstat 2>/dev/null
done
true
"""
"""Program that prints these files of processes in control groups; a process may end meanwhile."""


def seconds_of(lines: Iterable[str]) -> float:
    """Return processor seconds from lines of /proc/PID/stat and of /proc/PID/task/TID/schedstat.

    Clock ticks miss most of a process that runs for parts of a tick, so running processes count by the scheduler's
    nanoseconds.
    """
    ticks = nanoseconds = 0
    for line in lines:
        # The command's name, in brackets, may hold any character.
        _, of_process, fields = line.rpartition(")")
        if of_process:
            ticks += sum(map(int, fields.split()[OF_CHILDREN]))
        else:
            nanoseconds += int(line.split()[0])
    return ticks / os.sysconf("SC_CLK_TCK") + nanoseconds / 1e9


def spent(before: float, after: float) -> float:
    """Return the seconds between two readings. Raises ``RuntimeError`` when the processes differ."""
    if after < before:
        raise RuntimeError(
            "a gateway restarted while its idle time was measured: leave the testbed alone and measure again"
        )
    return after - before


def of_namespace(namespace: str) -> float:
    """Read the processor time of the containers of a namespace's pods, except those of users' clusters."""
    selector = f"{names.COMPONENT_LABEL} notin ({names.SCHEDULER_COMPONENT},{names.WORKER_COMPONENT})"
    output = "jsonpath={.items[*].metadata.uid}"
    uids = cluster.kubectl("--namespace", namespace, "get", "pods", "--selector", selector, "--output", output).split()
    return _of_control_groups(cluster.NODE, [f"pod{uid}" for uid in uids])


def of_units(container: str, units: Iterable[str]) -> float:
    """Read the processor time of systemd's units in a container."""
    return _of_control_groups(container, [f"/{unit}$" for unit in units])


def _of_control_groups(container: str, patterns: Iterable[str]) -> float:
    pattern = "|".join(patterns)
    found = docker.execute(container, ["sh", "-c", SCRIPT, "sh", pattern]).splitlines()
    if not found:
        raise RuntimeError(f"{container} runs no process in a control group like {pattern}")
    return seconds_of(found)

#!/usr/bin/python3
"""Prepare a container so that systemd and the kubelet can run in it, then become the program of the arguments.

With ``--kubelet-cgroup``, which the kubelet's unit uses, only the cgroup of the pods is prepared.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PODS_CGROUPS = ("kubelet", "kubelet.slice")
"""kind sets the kubelet's ``cgroupRoot`` to /kubelet."""
DOCKER_DNS = "127.0.0.11"
RESOLV_CONF = Path("/etc/resolv.conf")


def reachable_dns_rules(rules: str, address: str) -> str:
    """Return Docker's DNS redirections (``iptables-save`` format), also for packets of pods to ``address``."""
    rules = rules.replace(f"-d {DOCKER_DNS}", f"-d {address}")
    rules = re.sub(
        r"^-A OUTPUT (.*) -j DOCKER_OUTPUT$", r"\g<0>\n-A PREROUTING \1 -j DOCKER_OUTPUT", rules, flags=re.MULTILINE
    )
    return rules.replace("--to-source :53", f"--to-source {address}:53")


def move_docker_dns() -> None:
    """Let pods use Docker's DNS. Its loopback address would mean the pod itself in a pod."""
    configuration = RESOLV_CONF.read_text()
    if DOCKER_DNS not in configuration:
        return
    address = _output("ip", "-4", "route", "show", "default").split()[2]
    rules = reachable_dns_rules(_output("iptables-save"), address)
    subprocess.run(["iptables-restore"], input=rules, text=True, check=True)
    RESOLV_CONF.write_text(configuration.replace(DOCKER_DNS, address))
    Path("/proc/sys/net/ipv4/conf/all/route_localnet").write_text("1")


def prepare_cgroups_v1() -> None:
    """Make the pods' cgroup in each hierarchy, as a mount of its own, with the CPUs and memory nodes of its parent."""
    for hierarchy in filter(os.path.ismount, CGROUPS.iterdir()):
        for cgroup in (hierarchy / name for name in PODS_CGROUPS):
            try:
                cgroup.mkdir(exist_ok=True)
            except OSError:  # a hierarchy that is mounted read-only
                continue
            for name in ("cpuset.cpus", "cpuset.mems"):
                if (hierarchy / name).is_file():
                    (cgroup / name).write_text((hierarchy / name).read_text())
            subprocess.run(["mount", "--bind", cgroup, cgroup], check=True)


def prepare_cgroup_v2() -> None:
    """Make the pods' cgroup with all controllers. This works only after systemd has left the root cgroup."""
    controllers = " ".join(f"+{name}" for name in (CGROUPS / "cgroup.controllers").read_text().split())
    for parent, child in ((CGROUPS, CGROUPS / "kubelet"), (CGROUPS / "kubelet", CGROUPS / "kubelet" / "kubelet")):
        (parent / "cgroup.subtree_control").write_text(controllers)
        child.mkdir(exist_ok=True)


def main(command: list[str]) -> None:
    """Prepare the container, then run ``command`` as this process."""
    version_2 = (CGROUPS / "cgroup.controllers").is_file()
    if command == ["--kubelet-cgroup"]:
        if version_2:
            prepare_cgroup_v2()
        return
    subprocess.run(["mount", "--make-rshared", "/"], check=True)
    subprocess.run(["mount", "--options", "remount,ro", "/sys"], check=False)
    if not version_2:
        print("detected cgroup v1", flush=True)  # noqa: T201 - kind waits for this line, or for systemd's last
        prepare_cgroups_v1()
    Path("/etc/machine-id").unlink(missing_ok=True)
    subprocess.run(["systemd-machine-id-setup"], check=True)
    move_docker_dns()
    os.execv(command[0], command)  # noqa: S606 - no shell wanted


def _output(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    main(sys.argv[1:])

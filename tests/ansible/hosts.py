"""The submission host of the testbed, for testinfra."""

import shlex
from collections.abc import Sequence
from functools import cache

import testinfra
from testinfra.backend.base import CommandResult
from testinfra.host import Host

from gateway.site import Site, load
from testbed import submission
from testbed.paths import SITE


@cache
def site() -> Site:
    return load(SITE)


def by_docker() -> Host:
    """Return the host by ``docker exec``, as root."""
    return testinfra.get_host(f"docker://{submission.CONTAINER}")


def by_ssh(ssh_options: str = submission.SSH_OPTIONS) -> Host:
    """Return the host by SSH, with the key and the known hosts that Ansible uses."""
    return testinfra.get_host(
        f"ssh://root@{site().slurm.submission_address}",
        ssh_identity_file=str(submission.SSH_KEY),
        ssh_extra_args=f"-o BatchMode=yes {ssh_options}",
        controlpersist=0,
    )


def run_as(host: Host, user: str, command: Sequence[str], standard_input: str = "") -> CommandResult:
    """Run a program on the host as a user; exit code and output are in the result."""
    # testinfra substitutes quoted arguments for %s.
    program = shlex.join(command).replace("%", "%%")
    with host.sudo(user):
        return host.run(f"printf %%s %s | {program}", standard_input)


CALL = """
import socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    connection.sendall(sys.stdin.buffer.read())
    connection.shutdown(socket.SHUT_WR)
    print(connection.makefile().read())
"""
"""Source of a client of the launcher: its argument is the socket, its standard input the request."""


def call_launcher(host: Host, account: str, request: str) -> CommandResult:
    """Send a request to the launcher from an account; the answer is in the result's output."""
    python = f"{site().slurm.install_directory}/bin/python"
    return run_as(host, account, [python, "-I", "-c", CALL, site().slurm.launcher.socket], request)

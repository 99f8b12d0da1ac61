"""A submission host on disk: limits, commands of SLURM that record their calls, a user's directory, and a hub."""

import base64
import grp
import json
import os
import pwd
import socket
from types import SimpleNamespace

from gateway.as_user import preflight
from gateway.request import environment_variables
from gateway.slurm.launcher import accounts
from gateway.slurm.launcher.__main__ import answer
from tests.unit.slurm.launcher.hub import TOKEN
from tests.unit.slurm.world import CANARY

CLUSTER = "0123456789abcdef" * 2
LOG = "dask-worker-%A_%a.log"
UID, GID = 20001, 20000
JOB = {"options": {"mem": "4096M", "job-name": "dask-gateway"}, "log": LOG, "script": "#!/bin/sh\n"}
NO_JOB = {**JOB, "options": {"unknown": ""}}

RECORDING = """\
#!/bin/sh
tr '\\0' '\\n' </proc/$$/cmdline >{record}/arguments
cat /proc/$$/environ >{record}/environment
cat >{record}/input
pwd >{record}/place
{end}
"""


class SubmissionHost:
    """Has the launcher's limits, SLURM's commands, a user's directory and a hub."""

    def __init__(self, path, hub):
        self.path, self.hub = path, hub
        self.configuration = path / "launcher.json"
        self.staging = path / "staging" / "alice"
        self.staging.parent.mkdir()
        limits = {
            "minimum_uid": 1000,
            "minimum_gid": 1000,
            "staging_directory": str(path / "staging" / "{username}"),
            "log_days": 14,
            "server_account": pwd.getpwuid(os.getuid()).pw_name,
            "user_groups": ["cms"],
            **{name: str(path / name) for name in ("sbatch", "scancel", "squeue")},
            "hub_api_url": hub.api_url,
            "hub_ca_file": None,
        }
        self.configuration.write_text(json.dumps(limits))
        self.command("sbatch", "echo '4711;hammer'")
        self.command("scancel", "exit 0")
        self.queue({"4711": self.folder, "4712": self.folder})

    @property
    def folder(self):
        return self.staging / CLUSTER

    @property
    def logs(self):
        return self.staging / "logs"

    def limit(self, **changed):
        """Change the launcher's limits."""
        self.configuration.write_text(json.dumps({**json.loads(self.configuration.read_text()), **changed}))

    def command(self, name, end):
        """Make a command of SLURM that records its call and then does what ``end`` says."""
        record = self.path / f"{name}-was-called"
        record.mkdir(exist_ok=True)
        record.chmod(0o777)
        (self.path / name).write_text(RECORDING.format(record=record, end=end))
        (self.path / name).chmod(0o755)

    def queue(self, places):
        """Have squeue list these jobs: id -> working directory."""
        one = " ".join(f"*--jobs={job}\\ *) echo '{place}';;" for job, place in places.items())
        listed = "; ".join(f"echo {job}" for job in places) or ":"
        self.command("squeue", f'case "$* " in {one} *--jobs*) ;; *) {listed};; esac')

    def called(self, name):
        """The recorded call of a command, or None."""
        record = self.path / f"{name}-was-called"
        if not (record / "arguments").exists():
            return None
        _shell, _program, *arguments = (record / "arguments").read_text().splitlines()
        return SimpleNamespace(
            arguments=arguments,
            environment=preflight.parsed((record / "environment").read_bytes()),
            input=(record / "input").read_text(),
            place=(record / "place").read_text().strip(),
        )

    def answer(self, action, **arguments):
        request = {"action": action, "cluster": CLUSTER, "username": "alice", "uid": UID, "gid": GID, **arguments}
        return self.answer_to(json.dumps(request).encode())

    def answer_to(self, content):
        """The launcher's answer to what comes over its connection."""
        theirs, ours = socket.socketpair()
        with theirs, ours:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**21)
            theirs.sendall(content)
            theirs.shutdown(socket.SHUT_WR)
            return answer(ours, self.configuration)

    def files(self, **more):
        contents = {"variables": environment_variables.encoded({"MINE": CANARY}), "dask.pem": b"key\xff", **more}
        return {name: base64.b64encode(content).decode() for name, content in contents.items()}

    def prepare(self, **changed):
        """Start a cluster whose scheduler's job SLURM does not accept."""
        return self.start(**{"job": NO_JOB, **changed})

    def start(self, **changed):
        return self.answer("start", **{"files": self.files(), "job": JOB, "token": TOKEN, **changed})

    def submit(self, **changed):
        return self.answer("submit", **{**JOB, **changed})

    def cancel(self, *, jobs=("4711",), remove=True, **changed):
        return self.answer("cancel", **{"jobs": list(jobs), "remove": remove, **changed})


def know(monkeypatch, uid, gid, groups=(GID,)):
    """Have the machine know alice as this account, and the launcher act in the account of the test."""
    monkeypatch.setattr(accounts, "become", lambda account: None)
    alice = SimpleNamespace(pw_name="alice", pw_uid=uid, pw_gid=gid)
    known = pwd.getpwnam
    monkeypatch.setattr(pwd, "getpwnam", lambda name: alice if name == "alice" else known(name))
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, *groups])
    monkeypatch.setattr(grp, "getgrnam", lambda name: SimpleNamespace(gr_gid={"cms": GID}[name]))

"""A submission host on disk: limits, commands of SLURM that record their calls, a user's directory, an environment."""

import base64
import json
import os
import pwd
from types import SimpleNamespace

from gateway.as_user import preflight
from gateway.request import environment_variables
from gateway.slurm.launcher.__main__ import answer
from tests.unit import fake_environments
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
    """Has the launcher's limits, SLURM's commands, a user's directory and an environment."""

    def __init__(self, path):
        self.path = path
        self.configuration = path / "launcher.json"
        self.staging = path / "staging" / "alice"
        self.staging.parent.mkdir()
        self.conda = fake_environments.script(path / "conda", "exit 0")
        limits = {
            "minimum_uid": 1000,
            "minimum_gid": 1000,
            "staging_directory": str(path / "staging" / "{username}"),
            "log_days": 14,
            "sbatch": str(path / "sbatch"),
            "scancel": str(path / "scancel"),
        }
        self.configuration.write_text(json.dumps(limits))
        self.command("sbatch", "echo '4711;hammer'")
        self.command("scancel", "exit 0")

    @property
    def folder(self):
        return self.staging / CLUSTER

    @property
    def logs(self):
        return self.staging / "logs"

    def command(self, name, end):
        """Make a command of SLURM that records its call and then does what ``end`` says."""
        record = self.path / f"{name}-was-called"
        record.mkdir(exist_ok=True)
        record.chmod(0o777)
        (self.path / name).write_text(RECORDING.format(record=record, end=end))
        (self.path / name).chmod(0o755)

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
        request = {"action": action, "cluster": CLUSTER, "uid": UID, "gid": GID, **arguments}
        return answer(self.configuration, json.dumps(request))

    def files(self, **more):
        contents = {"variables": environment_variables.encoded({"MINE": CANARY}), "dask.pem": b"key\xff", **more}
        return {name: base64.b64encode(content).decode() for name, content in contents.items()}

    def plan(self):
        return fake_environments.plan(self.path, self.conda).encoded()

    def prepare(self, **changed):
        """Start a cluster whose scheduler's job SLURM does not accept."""
        return self.start(**{"job": NO_JOB, **changed})

    def start(self, **changed):
        return self.answer("start", **{"plan": self.plan(), "files": self.files(), "job": JOB, **changed})

    def submit(self, **changed):
        return self.answer("submit", **{**JOB, **changed})

    def cancel(self, *, jobs=("4711",), remove=True, **changed):
        return self.answer("cancel", **{"jobs": list(jobs), "remove": remove, **changed})


def become(monkeypatch, uid, gid):
    """Have the launcher see this account as the one that runs it."""
    monkeypatch.setattr(os, "getuid", lambda: uid)
    monkeypatch.setattr(os, "getgid", lambda: gid)
    monkeypatch.setattr(pwd, "getpwuid", lambda number: SimpleNamespace(pw_name="alice"))

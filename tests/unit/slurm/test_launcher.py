"""What the SLURM gateway does as a user: a closed list of actions, and an answer in every case."""

import base64
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.as_user import preflight
from gateway.request import environment_variables
from gateway.slurm import launcher
from tests.unit import fake_environments
from tests.unit.processes import NOBODY, as_user

ROOT = Path(__file__).resolve().parents[3]
CLUSTER = "0123456789abcdef" * 2
LOG = "dask-worker-%A_%a.log"
UID, GID = 20001, 20000
CANARY = "f3b1c0ffee"
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


class Setting:
    """A submission host: limits, SLURM's commands, a user's directory and an environment."""

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
        """Make a command of SLURM that records how it was called."""
        record = self.path / f"{name}-was-called"
        record.mkdir(exist_ok=True)
        record.chmod(0o777)
        (self.path / name).write_text(RECORDING.format(record=record, end=end))
        (self.path / name).chmod(0o755)

    def called(self, name):
        """How it was called, or None."""
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
        return launcher.answer(self.configuration, json.dumps(request))

    def files(self, **more):
        contents = {"variables": environment_variables.encoded({"MINE": CANARY}), "dask.pem": b"key\xff", **more}
        return {name: base64.b64encode(content).decode() for name, content in contents.items()}

    def plan(self):
        return fake_environments.plan(self.path, self.conda).encoded()

    def prepare(self, **changed):
        """Start a cluster whose scheduler's job is not taken."""
        return self.start(**{"job": NO_JOB, **changed})

    def start(self, **changed):
        return self.answer("start", **{"plan": self.plan(), "files": self.files(), "job": JOB, **changed})

    def submit(self, **changed):
        return self.answer("submit", **{**JOB, **changed})

    def cancel(self, *, jobs=("4711",), remove=True, **changed):
        return self.answer("cancel", **{"jobs": list(jobs), "remove": remove, **changed})


def become(monkeypatch, uid, gid):
    monkeypatch.setattr(launcher.os, "getuid", lambda: uid)
    monkeypatch.setattr(launcher.os, "getgid", lambda: gid)
    monkeypatch.setattr(launcher.pwd, "getpwuid", lambda number: SimpleNamespace(pw_name="alice"))


@pytest.fixture
def setting(tmp_path, monkeypatch):
    become(monkeypatch, UID, GID)
    return Setting(tmp_path.resolve())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "5",
        '"start"',
        "{}",
        '{"action": "shell"}',
        '{"action": null}',
        '{"action": ["start"]}',
        '{"action": "checked_user"}',
        '{"action": "cancel"}',
        "\0",
        "[" * 100_000,
    ],
)
def test_every_text_is_answered(setting, text):
    answer = launcher.answer(setting.configuration, text)
    assert answer["ok"] is False
    assert answer["error"]
    assert json.dumps(answer)


def test_missing_limits_are_answered(setting):
    setting.configuration.unlink()
    assert "FileNotFoundError" in setting.cancel()["error"]
    setting.configuration.write_text('{"minimum_uid": 0}')
    assert "TypeError" in setting.cancel()["error"]


@pytest.mark.weakness(9)
@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a" * 32 + "/..", "A" * 32, "a" * 31, "a" * 33, "a" * 32 + "\n", 5]
)
@pytest.mark.parametrize("action", launcher.ACTIONS)
def test_a_cluster_has_a_name_of_its_kind(setting, action, name):
    setting.prepare()
    answer = setting.answer(action, cluster=name, plan=setting.plan(), files=setting.files(), jobs=[], remove=True)
    assert answer["ok"] is False
    assert setting.called("sbatch") is setting.called("scancel") is None
    assert setting.folder.is_dir()


@pytest.mark.parametrize("changed", [{"uid": 20002}, {"gid": 20002}, {"uid": None}, {"gid": "20000"}, {"uid": "20001"}])
def test_the_account_must_be_the_directorys(setting, changed):
    answer = setting.prepare(**changed)
    assert "this machine gives the account the uid 20001 and the gid 20000, the directory gives it" in answer["error"]
    assert not setting.staging.exists()


@pytest.mark.weakness(3)
@pytest.mark.parametrize(("uid", "gid"), [(0, 0), (0, GID), (UID, 0), (999, GID), (UID, 999)])
@pytest.mark.parametrize("action", launcher.ACTIONS)
def test_nothing_is_done_as_a_system_account(setting, monkeypatch, action, uid, gid):
    become(monkeypatch, uid, gid)
    answer = setting.answer(
        action, uid=uid, gid=gid, plan=setting.plan(), files=setting.files(), jobs=["1"], remove=True
    )
    assert answer == {"ok": False, "error": f"RequestError: uid {uid} and gid {gid} are a system account's"}
    assert setting.called("scancel") is None
    assert not setting.staging.exists()


@pytest.mark.weakness(3)
def test_nothing_is_done_as_root_whatever_the_limits_say(setting, monkeypatch):
    become(monkeypatch, 0, 0)
    limits = json.loads(setting.configuration.read_text())
    setting.configuration.write_text(json.dumps({**limits, "minimum_uid": 0, "minimum_gid": 0}))
    assert "system account" in setting.prepare(uid=0, gid=0)["error"]


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.weakness(33)
def test_a_prepared_cluster_has_files_for_its_user_alone(setting):
    assert setting.prepare() == {"ok": True, "state": []}
    assert (mode(setting.staging), mode(setting.folder), mode(setting.logs / CLUSTER)) == (0o700, 0o700, 0o700)
    contents = {path.name: path.read_bytes() for path in setting.folder.iterdir()}
    for name in ("preflight.py", "preload.py", *preflight.COMPANIONS):
        assert contents.pop(name) == Path(preflight.__file__).with_name(name).read_bytes()
    assert contents == {"variables": f"MINE={CANARY}\0".encode(), "dask.pem": b"key\xff"}
    assert {mode(path) for path in setting.folder.iterdir()} == {0o600}


@pytest.mark.weakness(29)
@pytest.mark.usefixtures("shared_programs")
def test_a_user_prepares_what_only_the_user_reads(shared_path):
    setting = Setting(shared_path)
    setting.staging.parent.chmod(0o777)

    def prepare():
        conda = fake_environments.script(shared_path / "own", "exit 0")
        conda.chmod(0o700)
        request = {"uid": os.getuid(), "gid": os.getgid()}
        return setting.prepare(plan=fake_environments.plan(shared_path, conda).encoded(), **request)

    assert as_user(prepare) == {"ok": True, "state": []}
    (staging,) = setting.staging.parent.iterdir()
    if os.getuid() == 0:
        assert (staging.stat().st_uid, (staging / CLUSTER / "variables").stat().st_uid) == (NOBODY, NOBODY)


@pytest.mark.weakness(26, 27)
def test_a_refused_environment_leaves_nothing(setting):
    setting.conda = setting.path / "absent"
    answer = setting.prepare()
    assert set(answer) == {"ok", "refusal"}
    assert "is not there, as SLURM workers see it" in answer["refusal"]
    assert not setting.staging.exists()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "", ".x", "X", "a/b", "a" * 33, "a\n", "preflight.py"])
def test_a_file_of_another_name_leaves_nothing(setting, name):
    assert "error" in setting.prepare(files=setting.files(**{name: b""}))
    assert not setting.folder.exists()
    assert not (setting.logs / CLUSTER).exists()


def test_the_interpreter_is_started_with_the_users_variables_alone(setting):
    fake_environments.script(setting.path / "own", f"cat /proc/$$/environ >{setting.path}/seen")
    setting.prepare(plan=fake_environments.plan(setting.path, setting.path / "own").encoded())
    assert preflight.parsed((setting.path / "seen").read_bytes()) == {**launcher.SLURM_ENVIRONMENT, "MINE": CANARY}


def test_a_place_that_can_not_be_made_is_for_the_administrators(setting):
    setting.staging.parent.rmdir()
    answer = setting.prepare()
    assert f"The gateway needs {setting.staging} for your clusters" in answer["refusal"]
    assert "Ask the administrators" in answer["refusal"]


def test_a_cluster_is_prepared_once(setting):
    setting.prepare()
    assert "FileExistsError" in setting.prepare(files=setting.files(other=b""))["error"]
    assert not (setting.folder / "other").exists()


def test_the_state_of_an_environment_changes_with_its_packages(setting):
    packages = setting.conda / "lib/python3.11/site-packages"
    packages.mkdir(parents=True, exist_ok=True)
    state = setting.prepare()["state"]
    setting.answer("discard")
    assert setting.prepare()["state"] == state
    setting.answer("discard")
    (packages / "dask-1.dist-info").mkdir()
    assert setting.prepare()["state"] != state


def test_imports_are_those_of_the_environment(setting):
    setting.conda = fake_environments.environment(setting.path / "without-dask")
    setting.prepare()
    answer = setting.answer("imports", plan=setting.plan())
    assert answer["refusal"].startswith(f"The environment {setting.conda} lacks dask. Add it: conda install")
    setting.conda = fake_environments.complete(setting.path / "complete")
    assert setting.answer("imports", plan=setting.plan()) == {"ok": True}


def test_a_cluster_starts_with_its_schedulers_job(setting):
    assert setting.start() == {"ok": True, "state": [], "job": "4711"}
    assert setting.called("sbatch").arguments[3] == f"--chdir={setting.folder}"


@pytest.mark.parametrize("end", ["echo 'sbatch: error: slurmctld is away' >&2; exit 1", "echo Submitted"])
def test_a_cluster_is_prepared_though_its_job_is_not_taken(setting, end):
    setting.command("sbatch", end)
    assert setting.start() == {"ok": True, "state": []}
    setting.command("sbatch", "echo '4711;hammer'")
    assert setting.submit() == {"ok": True, "job": "4711"}


def test_no_job_of_a_refused_environment_is_submitted(setting):
    setting.conda = setting.path / "absent"
    assert "refusal" in setting.start()
    assert setting.called("sbatch") is None


@pytest.mark.weakness(10, 32, 33)
def test_sbatch_knows_nothing_of_the_user_but_the_script(setting, monkeypatch):
    monkeypatch.setenv("LD_PRELOAD_CANARY", CANARY)
    setting.prepare()
    assert setting.submit(script="#!/bin/sh\nexec x\n") == {"ok": True, "job": "4711"}
    called = setting.called("sbatch")
    assert called.environment == launcher.SLURM_ENVIRONMENT == {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    assert called.input == "#!/bin/sh\nexec x\n"
    assert called.place == "/"


@pytest.mark.weakness(23)
def test_where_a_job_runs_and_writes_is_not_the_requests(setting):
    setting.prepare()
    setting.submit()
    assert setting.called("sbatch").arguments == [
        "--parsable",
        "--export=ALL",
        "--no-requeue",
        f"--chdir={setting.folder}",
        f"--output={setting.logs}/{CLUSTER}/{LOG}",
        "--mem=4096M",
        "--job-name=dask-gateway",
    ]


@pytest.mark.weakness(10)
@pytest.mark.parametrize(
    "name", ["output", "chdir", "export", "uid", "wrap", "dependency", "mem=1 --uid", "", "prolog"]
)
def test_other_options_of_jobs_are_refused(setting, name):
    setting.prepare()
    assert "no options of a job here" in setting.submit(options={"mem": "1M", name: "x"})["error"]
    assert setting.called("sbatch") is None


@pytest.mark.parametrize("log", ["", "x.log", "../x.log", f"../{LOG}", f"{LOG}/x", f"{LOG}\n", "dask-worker-%j.log"])
def test_a_log_has_a_name_of_its_kind(setting, log):
    setting.prepare()
    assert "error" in setting.submit(log=log)
    assert setting.called("sbatch") is None


def test_a_submission_that_fails_says_why(setting):
    setting.prepare()
    setting.command("sbatch", "echo 'sbatch: error: no such partition' >&2; exit 1")
    assert "ended with exit code 1: sbatch: error: no such partition" in setting.submit()["error"]
    setting.command("sbatch", "echo Submitted")
    assert "instead of a job's number" in setting.submit()["error"]


def test_jobs_are_cancelled_and_the_folder_goes(setting):
    setting.prepare()
    assert setting.cancel(jobs=["4711", "4712_3"]) == {"ok": True}
    called = setting.called("scancel")
    assert (called.arguments, called.environment) == (["4711", "4712_3"], launcher.SLURM_ENVIRONMENT)
    assert not setting.folder.exists()


def test_jobs_are_cancelled_when_the_folder_is_gone(setting):
    assert setting.cancel() == {"ok": True}
    assert setting.called("scancel").arguments == ["4711"]


def test_a_folder_stays_for_the_clusters_other_jobs(setting):
    setting.prepare()
    setting.cancel(remove=False)
    assert setting.folder.is_dir()


def test_of_a_discarded_cluster_nothing_is_left(setting):
    setting.prepare()
    (setting.logs / CLUSTER / LOG).touch()
    for _ in range(2):
        assert setting.answer("discard") == {"ok": True}
    assert list(setting.staging.iterdir()) == [setting.logs]
    assert list(setting.logs.iterdir()) == []


def test_without_jobs_nothing_is_cancelled(setting):
    setting.prepare()
    assert setting.cancel(jobs=[]) == {"ok": True}
    assert setting.called("scancel") is None
    assert not setting.folder.exists()


@pytest.mark.parametrize("job", ["", "0x1", "-1", "--user=bob", "1 2", "1_", "1_[2-3]", "1_2_3", "1\n", "9" * 13, 5])
def test_what_is_no_jobs_number_cancels_nothing(setting, job):
    setting.prepare()
    assert "error" in setting.cancel(jobs=["4711", job])
    assert setting.called("scancel") is None


@pytest.mark.parametrize(
    "said",
    [
        "scancel: error: Kill job error on job id 4711: Invalid job id specified",
        "scancel: error: Kill job error on job id 4711: Job/step already completing or completed",
    ],
)
def test_jobs_that_are_over_are_cancelled(setting, said):
    setting.command("scancel", f"echo '{said}' >&2; echo '{said}' >&2; exit 1")
    assert setting.cancel() == {"ok": True}


def test_jobs_that_could_not_be_cancelled_are_told_and_the_folder_goes_all_the_same(setting):
    setting.prepare()
    setting.command("scancel", "echo 'Invalid job id' >&2; echo 'scancel: error: Connection refused' >&2; exit 1")
    assert "Connection refused" in setting.cancel()["error"]
    assert not setting.folder.exists()


@pytest.mark.weakness(23)
def test_logs_stay_when_their_cluster_is_gone(setting):
    setting.prepare()
    (setting.logs / CLUSTER / LOG).write_text("log")
    setting.cancel()
    assert (setting.logs / CLUSTER / LOG).read_text() == "log"


@pytest.mark.weakness(23)
def test_old_logs_are_forgotten_and_young_ones_kept(setting):
    days = {"a" * 32: 13.9, "b" * 32: 14.1, "not-a-cluster": 100}
    for name, age in days.items():
        folder = setting.logs / name
        folder.mkdir(parents=True)
        (folder / LOG).touch()
        os.utime(folder, (0, time.time() - age * launcher.DAY_SECONDS))
    setting.prepare()
    assert {folder.name for folder in setting.logs.iterdir()} == {"a" * 32, "not-a-cluster", CLUSTER}


def test_logs_elsewhere_are_not_forgotten(setting):
    elsewhere = setting.path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    setting.logs.mkdir(parents=True)
    link = setting.logs / ("a" * 32)
    link.symlink_to(elsewhere)
    os.utime(link, (0, 0), follow_symlinks=False)
    setting.prepare()
    assert (elsewhere / "precious").exists()


def test_the_program_answers_even_without_limits(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "gateway.slurm.launcher"],
        input="",
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["ok"] is False


def test_each_call_imports_the_standard_library_alone():
    code = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1]); import gateway.slurm.launcher;"
        " print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(ROOT)], capture_output=True, text=True, check=True
    )
    assert set(ended.stdout.split()) - sys.stdlib_module_names == {"gateway"}

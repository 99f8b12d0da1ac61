"""What a cluster checks as its user before Dask, and how it becomes Dask."""

import ast
import contextlib
import gc
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import distributed
import pytest

from gateway.as_user import preflight, spare
from gateway.as_user.preflight import REFUSED, RefusedError
from gateway.request import environment_variables
from tests.unit import fake_environments
from tests.unit.processes import as_user

PROGRAM = Path(preflight.__file__)
SYSTEM = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def place(tmp_path):
    return tmp_path.resolve()


@pytest.fixture(scope="session")
def complete(tmp_path_factory):
    """An environment with all that is needed."""
    return fake_environments.complete(tmp_path_factory.mktemp("complete").resolve() / "environment")


def refusal(plan, variables=SYSTEM):
    with pytest.raises(RefusedError) as caught:
        preflight.check(plan, variables)
    return str(caught.value)


def test_good_environments_are_accepted(place):
    conda = fake_environments.interpreter(place / "conda")
    preflight.check(fake_environments.plan(place, conda), SYSTEM)
    project = fake_environments.project(place / "project", "default", "my-env")
    for name in ("default", "my-env"):
        preflight.check(fake_environments.plan(place, project, name), SYSTEM)


def test_a_project_may_be_a_python_project(place):
    project = fake_environments.project(place / "project", "default")
    (project / "pixi.toml").rename(project / "pyproject.toml")
    preflight.check(fake_environments.plan(place, project, "default"), SYSTEM)


@pytest.mark.weakness(26)
def test_a_project_that_is_not_there(place):
    plan = fake_environments.plan(place, place / "absent", "default")
    assert refusal(plan) == (
        f"pixi_project='{place}/absent' is not there, as SLURM workers see it: No such file or directory."
    )


@pytest.mark.weakness(27)
def test_a_conda_environment_that_is_not_there(place):
    plan = fake_environments.plan(place, place / "absent")
    assert refusal(plan).startswith(f"conda_env='{place}/absent' is not there")


def test_a_path_below_a_file(place):
    (place / "file").touch()
    assert refusal(fake_environments.plan(place, place / "file" / "x")).endswith("Not a directory.")


def test_a_project_that_is_a_file(place):
    (place / "pixi.toml").touch()
    plan = fake_environments.plan(place, place / "pixi.toml", "default")
    assert refusal(plan).endswith("is no directory; name the directory that it is in.")


@pytest.mark.weakness(26)
def test_a_directory_that_is_no_project(place):
    (place / "project").mkdir()
    plan = fake_environments.plan(place, place / "project", "default")
    assert refusal(plan) == (f"pixi_project='{place}/project' has no pixi.toml; name the directory that contains it.")


@pytest.mark.weakness(25, 26)
@pytest.mark.parametrize(
    ("installed", "named", "option"),
    [((), "none", " --environment my-env"), (("a", "default"), "a, default", " --environment my-env")],
)
def test_an_environment_that_is_not_installed(place, installed, named, option):
    project = fake_environments.project(place / "project", *installed)
    (project / ".pixi" / "envs" / "empty").mkdir(parents=True)
    assert refusal(fake_environments.plan(place, project, "my-env")) == (
        f"The pixi environment 'my-env' is not installed in {project} (installed: {named})."
        f" Install it: pixi install --manifest-path {project}{option}"
    )


@pytest.mark.weakness(25)
def test_the_default_environment_that_is_not_installed(place):
    project = fake_environments.project(place / "project", "my-env")
    text = refusal(fake_environments.plan(place, project, "default"))
    assert text.startswith("The pixi environment 'default' is not installed")
    assert text.endswith(f"Install it: pixi install --manifest-path {project}")


@pytest.mark.weakness(27)
def test_a_directory_that_is_no_conda_environment(place):
    (place / "conda").mkdir()
    text = refusal(fake_environments.plan(place, place / "conda"))
    assert text == f"conda_env='{place}/conda' is no environment: it has no bin/python."


@pytest.mark.weakness(28)
@pytest.mark.parametrize("name", [None, "default"])
def test_a_link_must_not_lead_out_of_what_workers_see(place, name):
    (place / "visible").mkdir()
    (place / "hidden").mkdir()
    target = fake_environments.interpreter(place / "hidden" / "environment")
    if name is None:
        link = place / "visible" / "environment"
        path = link
    else:
        path = fake_environments.project(place / "visible" / "project")
        link = path / ".pixi" / "envs" / name
        link.parent.mkdir(parents=True)
    link.symlink_to(target)
    text = refusal(fake_environments.plan(place / "visible", path, name))
    assert text.endswith(f"leads to '{target}', which is not visible to SLURM workers; put it under /depot/cms.")
    preflight.check(fake_environments.plan(place, path, name), SYSTEM)


@pytest.mark.weakness(22)
def test_a_link_to_what_this_machine_does_not_have_is_told_as_such(place):
    (place / "project").symlink_to("/absent/project")
    text = refusal(fake_environments.plan(place, place / "project", "default"))
    assert "leads to '/absent/project', which is not visible to SLURM workers" in text


@pytest.mark.weakness(28)
def test_a_volume_whose_name_begins_alike_is_another_one(place):
    (place / "visible").mkdir()
    conda = fake_environments.interpreter(place / "visible2" / "environment")
    assert "is not visible" in refusal(fake_environments.plan(place / "visible", conda))


@pytest.mark.weakness(29)
@pytest.mark.parametrize("mode", [0o000, 0o600, 0o711])
def test_what_the_user_may_not_read(shared_path, mode):
    conda = fake_environments.script(shared_path / "conda", "exit 0")
    plan = fake_environments.plan(shared_path, conda)
    as_user(preflight.check, plan, SYSTEM)
    conda.chmod(mode)
    with pytest.raises(RefusedError, match="is not readable for you"):
        as_user(preflight.check, plan, SYSTEM)


@pytest.mark.weakness(29)
def test_what_is_below_a_directory_that_the_user_may_not_enter(shared_path):
    private = shared_path / "private"
    plan = fake_environments.plan(shared_path, fake_environments.script(private / "conda", "exit 0"))
    private.chmod(0o000)
    with pytest.raises(RefusedError, match="is not readable for you"):
        as_user(preflight.check, plan, SYSTEM)
    private.chmod(0o755)


@pytest.mark.weakness(29)
def test_what_the_user_may_read_and_others_not(shared_path):
    def own_environment():
        conda = fake_environments.script(shared_path / "own", "exit 0")
        conda.chmod(0o700)
        preflight.check(fake_environments.plan(shared_path, conda), SYSTEM)

    as_user(own_environment)


def test_an_interpreter_that_does_not_run(place):
    conda = fake_environments.interpreter(place / "conda")
    (conda / "bin" / "python").unlink()
    (conda / "bin" / "python").symlink_to("/absent/python")
    python = conda / "bin" / "python"
    assert refusal(fake_environments.plan(place, conda)) == f"{python} can't be run: No such file or directory."


def test_an_interpreter_that_ends_with_an_error(place):
    project = fake_environments.project(place / "project")
    script = "echo 'libpython3.so: error while loading' >&2; echo see above >&2; exit 127"
    fake_environments.script(project / ".pixi" / "envs" / "default", script)
    text = refusal(fake_environments.plan(place, project, "default"))
    assert "does not start: libpython3.so: error while loading" in text
    assert text.endswith(f"Install the environment again: pixi install --manifest-path {project}")


def test_an_interpreter_that_hangs(place, monkeypatch):
    monkeypatch.setattr(preflight, "INTERPRETER_SECONDS", 0.2)
    conda = fake_environments.script(place / "conda", "exec sleep 60")
    assert "did not start within 0.2 s" in refusal(fake_environments.plan(place, conda))


def test_the_interpreter_has_the_users_variables(place):
    conda = fake_environments.script(place / "conda", '[ "$MINE" = "a b" ] || exit 1')
    preflight.check(fake_environments.plan(place, conda), {**SYSTEM, "MINE": "a b"})
    assert "it says nothing" in refusal(fake_environments.plan(place, conda))


def test_storage_that_is_not_mounted(place):
    conda = fake_environments.interpreter(place / "conda")
    (place / "marker").touch()
    plan = fake_environments.plan(place, conda, markers=[str(place / "marker")])
    preflight.check(plan, SYSTEM)
    (place / "marker").unlink()
    text = refusal(plan)
    assert text.startswith(f"The storage with {place}/marker is not mounted on the machine")
    assert "No such file or directory" in text


def test_a_marker_that_is_not_for_the_user_says_nothing(shared_path):
    private = shared_path / "private"
    private.mkdir()
    private.chmod(0o000)
    conda = fake_environments.script(shared_path / "conda", "exit 0")
    as_user(preflight.check, fake_environments.plan(shared_path, conda, markers=[str(private / "marker")]), SYSTEM)
    private.chmod(0o700)


def imports(plan):
    return subprocess.run(
        [plan.python, str(PROGRAM), "imports", plan.encoded()], env=SYSTEM, capture_output=True, text=True, check=False
    )


def with_modules(place, **modules):
    return fake_environments.plan(place, fake_environments.environment(place / "conda", **modules))


def test_a_complete_environment_imports(place, complete):
    ended = imports(fake_environments.plan(complete, complete))
    assert (ended.returncode, ended.stdout) == (0, "")


@pytest.mark.weakness(27)
@pytest.mark.parametrize("present", [(), ("dask",), ("dask", "distributed")])
def test_a_conda_environment_without_a_module(place, present):
    ended = imports(with_modules(place, **dict.fromkeys(present, "")))
    lacking = preflight.MODULES[len(present)]
    assert ended.returncode == REFUSED == 78
    assert ended.stdout == (
        f"The environment {place}/conda lacks {lacking}."
        f" Add it: conda install --prefix {place}/conda --channel conda-forge dask-gateway"
    )


@pytest.mark.parametrize(("name", "feature"), [("default", ""), ("my-env", " --feature my-env")])
def test_a_pixi_environment_without_a_module(place, name, feature):
    plan = fake_environments.plan(place, place / "project", name)
    fake_environments.environment(Path(plan.prefix))
    ended = imports(plan)
    assert ended.returncode == REFUSED
    assert ended.stdout.endswith(f"lacks dask. Add it: pixi add --manifest-path {place}/project{feature} dask-gateway")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("raise RuntimeError('no\\n  device')", "RuntimeError: no device"),
        ("import absent_module", "ModuleNotFoundError: No module named 'absent_module'"),
        ("raise SyntaxError('bad')", "SyntaxError: bad"),
    ],
)
def test_a_module_that_fails(place, content, said):
    ended = imports(with_modules(place, dask="", distributed=content))
    assert ended.returncode == REFUSED
    assert ended.stdout == f"distributed can't be imported in {place}/conda: {said}"


def test_imports_are_of_the_environment_and_of_nothing_beside_the_program(place, complete):
    program = shutil.copy(PROGRAM, place / "preflight.py")
    (place / "distributed.py").write_text("raise RuntimeError('beside the program')")
    preflight.check_imports(fake_environments.plan(complete, complete), SYSTEM, str(program))


def test_refusals_of_imports_are_handed_on(place):
    plan = with_modules(place)
    with pytest.raises(RefusedError, match=r"lacks dask\. Add it: conda install"):
        preflight.check_imports(plan, SYSTEM, str(PROGRAM))


def test_imports_that_kill_the_interpreter(place):
    plan = with_modules(place, dask="import os, sys; print('fatal error: broken', file=sys.stderr); os._exit(3)")
    with pytest.raises(RefusedError, match=r"conda does not import Dask: fatal error: broken"):
        preflight.check_imports(plan, SYSTEM, str(PROGRAM))


def test_imports_that_hang(place, monkeypatch):
    monkeypatch.setattr(preflight, "IMPORT_SECONDS", 0.5)
    with pytest.raises(RefusedError, match=r"did not import Dask within 0.5 s"):
        preflight.check_imports(with_modules(place, dask="import time; time.sleep(60)"), SYSTEM, str(PROGRAM))


HOSTILE = {
    "LINES": "first\nsecond\n",
    "QUOTES": 'it\'s "here" \\ `id`',
    "REFERENCES": "$HOME ${HOME} $(HOME) $$ %PATH% %%",
    "EQUALS": "=a=b",
    "EMPTY": "",
    "UNICODE": "☃ \u202e",
    "BYTES": os.fsdecode(b"\xff\xfe\x80"),
    "ESCAPES": "\x1b[31m\r\t\x01",
}


@pytest.fixture
def start(place, complete):
    """What the fake Dask says of how it was started, or the ended process where it was not."""

    def run(role, *arguments, variables=HOSTILE, machine=SYSTEM, program=PROGRAM, **changed):
        record = place / "record"
        (place / "variables").write_bytes(environment_variables.encoded({**variables, "RECORD": str(record)}))
        plan = fake_environments.plan(complete, complete, variables=str(place / "variables"))._replace(**changed)
        ended = subprocess.run(
            [sys.executable, "-IS", str(program), "start", plan.encoded(), role, *arguments],
            env=machine,
            capture_output=True,
            check=False,
        )
        return json.loads(record.read_text()) if ended.returncode == 0 else ended

    return run


@pytest.mark.weakness(33)
@pytest.mark.parametrize("role", ["scheduler", "worker"])
def test_values_arrive_byte_for_byte(start, role):
    arrived = {bytes.fromhex(name): bytes.fromhex(value) for name, value in start(role)["environ"].items()}
    assert {os.fsencode(name): os.fsencode(value) for name, value in HOSTILE.items()}.items() <= arrived.items()


@pytest.mark.parametrize("role", ["scheduler", "worker"])
def test_dask_gets_its_role_and_arguments(start, role, complete):
    arguments = ["tls://10.0.0.1:8786", "--name", "a b", "$(id)", "--host", ""]
    started = start(role, *arguments)
    assert started["argv"] == [role, *arguments]
    assert started["name"] == f"dask {role}"
    assert started["collects"]
    assert started["path"][0] == f"{complete}/bin"
    assert str(PROGRAM.parent) not in started["path"]


def variable(started, name):
    value = started["environ"].get(name.encode().hex())
    return None if value is None else bytes.fromhex(value).decode()


@pytest.mark.weakness(34)
def test_the_users_variables_come_on_top_of_the_machines(start):
    machine = {**SYSTEM, "PYTHONWARNINGS": "ignore", "MACHINE": "1", "HOME": "/scratch"}
    started = start("worker", variables={"PYTHONWARNINGS": "default"}, machine=machine)
    assert variable(started, "PYTHONWARNINGS") == "default"
    assert (variable(started, "MACHINE"), variable(started, "HOME")) == ("1", "/scratch")


@pytest.mark.weakness(33)
def test_home_is_a_directory_for_the_user_alone(start, place):
    scratch = place / "scratch"
    for _ in range(2):
        started = start("worker", variables={}, scratch=str(scratch))
        assert variable(started, "HOME") == variable(started, "DASK_TEMPORARY_DIRECTORY") == str(scratch)
    assert scratch.stat().st_mode & 0o777 == 0o700
    started = start("worker", variables={"DASK_TEMPORARY_DIRECTORY": "/x"}, scratch=str(scratch))
    assert variable(started, "DASK_TEMPORARY_DIRECTORY") == "/x"


@pytest.mark.parametrize("kind", ["link", "file", "somebody else's"])
def test_a_home_of_somebody_else_is_not_taken(start, shared_path, kind):
    scratch = shared_path / "scratch"
    if kind == "link":
        scratch.symlink_to(shared_path)
    elif kind == "file":
        scratch.touch()
    else:
        scratch.mkdir()
        if os.getuid() != 0:
            pytest.skip("only root gives directories away")
        os.chown(scratch, 12345, 12345)
    ended = start("worker", scratch=str(scratch))
    assert ended.returncode == REFUSED
    assert b"belongs to somebody else" in ended.stderr


def test_a_scheduler_whose_reason_is_read_makes_all_checks(start, place):
    report = place / "report"
    absent = str(place / "absent")
    ended = start("scheduler", report=str(report), path=absent, prefix=absent, visible=[str(place)])
    assert ended.returncode == REFUSED
    assert report.read_bytes() == ended.stderr
    assert report.read_text().startswith(f"conda_env='{place}/absent' is not there")


@pytest.fixture
def worker_program(complete):
    """Gives the environment another program of workers, for the test."""
    path = fake_environments.packages(complete) / "distributed" / "cli" / "dask_worker.py"
    own = path.read_text()
    yield path.write_text
    path.write_text(own)


@pytest.mark.parametrize("role", ["scheduler", "worker"])
def test_every_start_checks_that_storage_is_mounted(start, place, role):
    ended = start(role, markers=[str(place / "absent")])
    assert ended.returncode == REFUSED
    assert b"is not mounted" in ended.stderr


def test_a_scheduler_says_what_its_environment_lacks(start, place):
    conda = fake_environments.environment(place / "conda")
    report = place / "report"
    ended = start("scheduler", report=str(report), path=str(conda), prefix=str(conda), visible=[str(place)])
    assert ended.returncode == REFUSED
    assert report.read_text().startswith(f"The environment {conda} lacks dask. Add it: conda install")


NANNY = """
import json, multiprocessing, os, sys

def tell(who, others):
    place = os.environ["RECORD"]
    seen = json.load(open(place))["seen"] if os.path.exists(place) else []
    imported = sys.modules["__main__"].__dict__.get("PROGRAMS") is not None
    json.dump({"seen": [*seen, f"{who} {imported}"]}, open(place, "w"))
    if others:
        process = multiprocessing.get_context("spawn").Process(target=tell, args=(others[0], others[1:]))
        process.start()
        process.join()

def main(arguments, prog_name):
    tell("nanny", ["worker", "task"])
"""
LATE_PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from gateway.as_user.preflight import import_late
import_late("late")
import late
from concurrent.futures import ThreadPoolExecutor
print("before:", "late.part" in sys.modules, late.__spec__.name, late.__file__)
"""


@pytest.fixture
def late(tmp_path):
    """What is printed by a program that imports a package late, at whose execution ``content`` is executed."""

    def run(code, content="import time; time.sleep(0.3)\nfrom late.part import VALUE\nfrom late import part\n"):
        package = tmp_path / "late"
        package.mkdir()
        (package / "__init__.py").write_text(content)
        (package / "part.py").write_text("VALUE = 1")
        (package / "other.py").write_text("import late\nOTHER = late.VALUE")
        ended = subprocess.run(
            [sys.executable, "-c", LATE_PROGRAM + code, tmp_path], capture_output=True, text=True, check=False
        )
        before, _, after = ended.stdout.partition("\n")
        assert before == f"before: False late {package}/__init__.py", ended.stderr
        return after.strip()

    return run


@pytest.mark.parametrize(
    "code",
    [
        "print(late.VALUE)",
        "from late import VALUE; print(VALUE)",
        "import late.other; print(late.other.OTHER)",
        "from late.other import OTHER; print(OTHER)",
        "with ThreadPoolExecutor(8) as pool: print(*set(pool.map(lambda _: late.VALUE, range(8))))",
    ],
)
def test_what_is_imported_late_is_there_when_it_is_used(late, code):
    assert late(code + "\nprint(late.part.VALUE, type(late).__name__)") == "1\n1 module"


def test_what_is_imported_late_fails_when_it_is_used_each_time(late):
    code = "for _ in range(2):\n    try: late.VALUE\n    except ImportError as error: print(error)\n"
    assert late(code, "raise ImportError('broken')") == "broken\nbroken"


def test_what_is_not_installed_is_not_imported_late():
    preflight.import_late("no_such_package")
    assert "no_such_package" not in sys.modules


def test_a_scheduler_starts_without_what_only_clients_use(start, complete):
    packages = fake_environments.packages(complete)
    (packages / "aiohttp.py").write_text("raise RuntimeError('executed')")
    (packages / "dask_gateway" / "__init__.py").write_text("import aiohttp")
    assert start("scheduler")["argv"] == ["scheduler"]


YAML = "class SafeLoader: pass\nclass CSafeLoader: pass\ndef load(): return SafeLoader.__name__\n"


@pytest.fixture
def seen_by_imports(monkeypatch, tmp_path):
    """The loader that ``yaml`` has while Dask is imported, and afterwards, and whether garbage is looked for."""

    def see(yaml):
        (tmp_path / "yaml.py").write_text(yaml)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "yaml", raising=False)
        seen = []
        with contextlib.suppress(ZeroDivisionError), preflight.quick_imports():
            seen.append((importlib.import_module("yaml").load(), gc.isenabled()))
            raise ZeroDivisionError
        return [*seen, (importlib.import_module("yaml").load(), gc.isenabled())]

    return see


def test_imports_are_quick_and_nothing_else_is_changed(seen_by_imports):
    assert seen_by_imports(YAML) == [("CSafeLoader", False), ("SafeLoader", True)]


def test_imports_without_libyaml(seen_by_imports):
    assert seen_by_imports(YAML.replace("CSafeLoader", "Other")) == [("SafeLoader", False), ("SafeLoader", True)]


def test_a_broken_yaml_is_for_dask_to_find(seen_by_imports):
    with pytest.raises(ImportError, match="broken") as caught:
        seen_by_imports("raise ImportError('broken')")
    assert caught.value.__context__ is None
    assert gc.isenabled()


def test_a_nannys_worker_imports_quickly_and_what_tasks_start_does_not(start, worker_program, place):
    """With multiprocessing itself: each process tells whether the program of workers is imported in it, and by whom."""
    worker_program(NANNY)
    assert start("worker", str(place))["seen"] == ["nanny True", "worker True", "task False"]


FIRST_AND_SECOND = """
import json, multiprocessing, os

def tell(who):
    names = ("MALLOC_TRIM_THRESHOLD_", "PYTHONHASHSEED")
    said = [f"{who}: {name} is {os.environ[name]}" for name in names if name in os.environ]
    how = "spawned" if "multiprocessing-fork" in open("/proc/self/cmdline").read() else "was ready"
    place = os.environ["RECORD"]
    told = json.load(open(place)) if os.path.exists(place) else []
    json.dump([*told, [who, how, *said]], open(place, "w"))

def main(arguments, prog_name):
    tell("nanny")
    os.environ.update(%s)
    for who in ("first", "second"):
        process = multiprocessing.get_context("spawn").Process(target=tell, args=(who,))
        process.start()
        process.join()
"""


@pytest.mark.parametrize(
    ("configured", "first"),
    [
        ({"OMP_NUM_THREADS": "1"}, "was ready"),
        ({"MALLOC_TRIM_THRESHOLD_": "65536", "PYTHONHASHSEED": "6640"}, "was ready"),
        ({"MALLOC_TRIM_THRESHOLD_": "0"}, "spawned"),
    ],
)
def test_the_first_worker_of_a_nanny_is_ready_unless_something_else_is_configured(
    start, worker_program, configured, first
):
    """A nanny sets it in its own variables; before, it finds none of ours there."""
    worker_program(FIRST_AND_SECOND % configured)
    set_now = [f"{name} is {value}" for name, value in configured.items() if name in preflight.WORKER_START]
    assert start("worker") == [
        ["nanny", "was ready"],
        ["first", first, *(f"first: {text}" for text in set_now)],
        ["second", "spawned", *(f"second: {text}" for text in set_now)],
    ]


def test_a_worker_leaves_nothing_beside_the_program(start, worker_program, place):
    """In the folder of its cluster, which may be about to go."""
    worker_program(FIRST_AND_SECOND % {})
    (place / "program").mkdir()
    for name in (PROGRAM.name, preflight.SPARE):
        shutil.copy(PROGRAM.with_name(name), place / "program")
    assert len(start("worker", program=place / "program" / PROGRAM.name)) == 3
    assert {path.name for path in (place / "program").iterdir()} == {PROGRAM.name, preflight.SPARE}


@pytest.mark.parametrize("name", preflight.WORKER_START)
def test_what_a_user_sets_for_workers_counts(start, worker_program, name):
    worker_program(FIRST_AND_SECOND % {})
    nanny, first, _ = start("worker", variables={name: "7"})
    assert nanny == ["nanny", "was ready", f"nanny: {name} is 7"]
    assert first == ["first", "was ready", f"first: {name} is 7"]


async def test_workers_are_started_with_what_a_nanny_sets():
    set_by_nanny = distributed.Nanny("tcp://127.0.0.1:1").pre_spawn_env
    read_at_start = {name: value for name, value in set_by_nanny.items() if name.startswith(spare.READ_AT_START)}
    assert read_at_start == preflight.WORKER_START


def test_a_worker_whose_environment_is_gone_says_so(start, place):
    ended = start("worker", prefix=str(place / "absent"))
    assert ended.returncode == REFUSED
    assert ended.stderr.decode() == f"{place}/absent/bin/python can't be run: No such file or directory."


def test_nothing_beside_the_program_is_imported(start, place):
    (place / "program").mkdir()
    program = shutil.copy(PROGRAM, place / "program" / "preflight.py")
    for module in preflight.MODULES:
        (place / "program" / f"{module}.py").write_text("raise RuntimeError('beside the program')")
    assert start("scheduler", program=program)["argv"] == ["scheduler"]


def test_a_plan_survives_its_way(place):
    plan = fake_environments.plan(place, place / "a 'b' \"c\" $d ☃", "default", markers=["/x"], report="/r")
    assert preflight.decoded(plan.encoded()) == plan
    for wrong in ("", "[]", '{"path": 1}', "5"):
        with pytest.raises((TypeError, ValueError)):
            preflight.decoded(wrong)


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (b"", "it says nothing"),
        (b"one\ntwo\n\n", "two"),
        (b"Traceback\nImportError: x\nhint\n", "ImportError: x"),
        (b"\xff error", "\ufffd error"),
        (b"error " + b"x" * 1000, "error " + "x" * 294),
    ],
)
def test_the_telling_line(output, line):
    assert preflight.telling_line(output) == line


def test_one_file_of_the_standard_library_for_old_pythons():
    tree = ast.parse(PROGRAM.read_text(), feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names

"""The preflight's checks of an environment: each refusal names what is wrong and the repair."""

import pytest

from gateway.as_user import preflight
from gateway.as_user.preflight import RefusedError
from tests.unit import fake_environments
from tests.unit.as_user.programs import SYSTEM
from tests.unit.processes import as_user


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
    assert refusal(plan).endswith("is not a directory: name the directory that contains it.")


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
    assert text == f"conda_env='{place}/conda' is not a Conda environment: it has no bin/python."


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
    assert "it printed nothing" in refusal(fake_environments.plan(place, conda))


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


def test_a_plan_survives_its_way(place):
    plan = fake_environments.plan(place, place / "a 'b' \"c\" $d ☃", "default", markers=["/x"], report="/r")
    assert preflight.decoded(plan.encoded()) == plan
    for wrong in ("", "[]", '{"path": 1}', "5"):
        with pytest.raises((TypeError, ValueError)):
            preflight.decoded(wrong)


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (b"", "it printed nothing"),
        (b"one\ntwo\n\n", "two"),
        (b"Traceback\nImportError: x\nhint\n", "ImportError: x"),
        (b"\xff error", "\ufffd error"),
        (b"error " + b"x" * 1000, "error " + "x" * 294),
    ],
)
def test_the_telling_line(output, line):
    assert preflight.telling_line(output) == line

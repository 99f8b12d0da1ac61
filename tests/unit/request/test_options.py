"""Test the user guide's options, which both gateways parse and check alike."""

import math

import pytest
from dask_gateway_server.models import User
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Refusal
from gateway.identity.accounts import Account, classify
from gateway.identity.authenticator import FacilityUser
from gateway.request import environment_variables, options
from gateway.request.environments import Environment
from gateway.request.options import ClusterRequest
from gateway.site import GIB, Backend

PROJECT = "/depot/cms/projects/analysis"


def user(site, name="alice", uid=20001, gid=20000):
    account = Account(name, uid, gid, (21001,))
    return FacilityUser(User(name), classify(name, site.identity.classes), account)


def ask(site, backend=Backend.KUBERNETES, who=None, **request) -> ClusterRequest:
    who = who or user(site)
    given = options.cluster_options(site, backend).parse_options(request)
    return options.request_of(given, who.name, who.user_class.name, who.account, site, backend)


def refusal(site, backend=Backend.KUBERNETES, who=None, **request) -> str:
    with pytest.raises(Refusal) as caught:
        ask(site, backend, who, **request)
    return str(caught.value)


@pytest.mark.parametrize("backend", Backend)
def test_defaults(testbed_site, backend):
    request = ask(testbed_site, backend, pixi_project=PROJECT)
    assert request.environment.prefix == f"{PROJECT}/.pixi/envs/default"
    assert request.worker_cores == 1
    assert request.worker_memory_bytes == 4 * GIB
    assert request.account == Account("alice", 20001, 20000, (21001,))


@pytest.mark.weakness(30)
def test_both_gateways_have_the_same_six_options(testbed_site):
    names = [[field.field for field in options.cluster_options(testbed_site, backend).fields] for backend in Backend]
    assert names == [["pixi_project", "pixi_env", "conda_env", "worker_cores", "worker_memory", "env"]] * 2


def test_pixi_env_and_conda_env_give_their_directories(testbed_site):
    pixi = ask(testbed_site, pixi_project=PROJECT, pixi_env="my-env").environment
    assert pixi == Environment("pixi_project", PROJECT, "my-env")
    assert pixi.prefix == f"{PROJECT}/.pixi/envs/my-env"
    conda = ask(testbed_site, conda_env="/depot/cms/conda/analysis").environment
    assert conda == Environment("conda_env", "/depot/cms/conda/analysis")
    assert conda.prefix == conda.path


def test_the_sites_own_environment_is_taken_when_none_is_named(testbed_site):
    environment = ask(testbed_site).environment
    assert environment == Environment("pixi_project", "/work/pixi/global", "default")


@pytest.mark.weakness(30)
@pytest.mark.parametrize("value", [True, False, math.nan, math.inf, -math.inf, -1, 0, 1e9, "4", None, [1], {}])
@pytest.mark.parametrize("name", ["worker_cores", "worker_memory"])
@pytest.mark.parametrize("backend", Backend)
def test_numbers_that_are_none_are_refused_by_name_and_value(testbed_site, backend, name, value):
    text = refusal(testbed_site, backend, pixi_project=PROJECT, **{name: value})
    assert name in text
    assert repr(value) in text


def test_numbers_of_thousands_of_digits_are_refused(testbed_site):
    assert "a number of thousands of digits" in refusal(testbed_site, pixi_project=PROJECT, worker_cores=10**5000)


def test_slurm_gives_whole_cores_only(testbed_site):
    assert ask(testbed_site, Backend.SLURM, pixi_project=PROJECT, worker_cores=1.0).worker_cores == 1
    assert "whole number of cores, got 1.5" in refusal(
        testbed_site, Backend.SLURM, pixi_project=PROJECT, worker_cores=1.5
    )
    assert ask(testbed_site, pixi_project=PROJECT, worker_cores=0.5).worker_cores == 0.5


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        pytest.param(
            {"conda_env": "/depot/cms/c", "pixi_project": PROJECT}, "one or the other", marks=pytest.mark.weakness(27)
        ),
        pytest.param(
            {"conda_env": "/depot/cms/c", "pixi_env": "my-env"}, "one or the other", marks=pytest.mark.weakness(27)
        ),
        ({"pixi_env": "my-env"}, "needs pixi_project"),
        pytest.param(
            {"pixi_project": PROJECT, "pixi_env": "../../evil"},
            "not a name of a Pixi environment",
            marks=pytest.mark.weakness(28),
        ),
        ({"pixi_project": "projects/analysis"}, "not an absolute path"),
        ({"pixi_project": "/home/alice/p"}, "/depot/cms"),
        pytest.param({"pixi_project": "/depot/cms/../../etc"}, "not on storage", marks=pytest.mark.weakness(28)),
        ({"pixi_project": "/depot/cmsx/p"}, "not on storage"),
        pytest.param({"pixi_project": "/depot/cms/a b"}, "contains ' '", marks=pytest.mark.weakness(31)),
        pytest.param({"conda_env": "/depot/cms/$(id)"}, "contains '$'", marks=pytest.mark.weakness(31)),
        pytest.param({"conda_env": "/depot/cms/a;b"}, "contains ';'", marks=pytest.mark.weakness(31)),
        pytest.param({"conda_env": "/depot/cms/a\nb"}, "contains", marks=pytest.mark.weakness(31)),
        ({"pixi_projct": PROJECT}, "unknown option 'pixi_projct'; known options are pixi_project, pixi_env, conda_env"),
        ({"pixi_project": 5}, "pixi_project must be text, got 5"),
        ({"env": ["A=1"]}, "env must be a dictionary like dict(os.environ), got a list"),
        pytest.param(
            {"pixi_project": PROJECT, "env": {"A": 1}}, "env['A'] is of type int", marks=pytest.mark.weakness(30)
        ),
        ({"pixi_project": PROJECT, "env": {"A": "x\0y"}}, "env['A'] contains a NUL character"),
        ({"pixi_project": PROJECT, "env": {"A": "\ud800"}}, "env['A'] contains a character that no environment"),
        (
            {"pixi_project": PROJECT, "env": {"A": "x" * 131070}},
            "env['A'] has 131072 bytes for workers; Linux takes",
        ),
    ],
)
def test_refusals(testbed_site, request_, words):
    assert words in refusal(testbed_site, **request_)


@pytest.mark.parametrize("option", ["pixi_project", "conda_env"])
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/depot/cms/" + "a/" * 50_000, "a path has at most 4095 bytes, this one has 100011"),
        ("/depot/cms/" + "a" * 256, "a name in a path has at most 255 bytes, one here has 256"),
        ("/depot/cms/" + "é" * 128, "a name in a path has at most 255 bytes, one here has 256"),
        ("x" * 10**6, "a path has at most 4095 bytes, this one has 1000000"),
    ],
)
def test_a_path_is_no_longer_than_linux_allows(testbed_site, option, path, words):
    text = refusal(testbed_site, **{option: path})
    assert text.startswith(f"{option} is too long: ")
    assert words in text
    assert len(text) < 200


def test_the_names_of_an_environment_are_bounded_too(testbed_site):
    text = refusal(testbed_site, pixi_project=PROJECT, pixi_env="e" * 100_000)
    assert text.startswith("pixi_env is too long: ")
    assert len(text) < 200
    project = ("/depot/cms" + "/a" * 2050)[:4090]
    assert "path of the environment" in refusal(testbed_site, pixi_project=project)
    longest = ("/depot/cms" + "/a" * 2050)[:4094].rstrip("/")
    assert ask(testbed_site, conda_env=longest).environment.path == longest


def test_options_are_a_mapping(testbed_site):
    with pytest.raises(Refusal, match="options must be a dict, got 'list'"):
        options.cluster_options(testbed_site, Backend.SLURM).parse_options(["pixi_project"])


def test_without_an_environment_of_the_site_one_must_be_named(testbed_site):
    text = refusal(testbed_site, Backend.SLURM)
    assert "No environment given: use pixi_project='/path/to/pixi/project'" in text
    assert "or conda_env='/path/to/conda/environment'" in text


@pytest.mark.weakness(22)
def test_slurm_workers_do_not_see_work(testbed_site):
    text = refusal(testbed_site, Backend.SLURM, pixi_project="/work/projects/analysis")
    assert "/work is not visible to SLURM workers; put it under /depot/cms or use Gateway()" in text
    assert ask(testbed_site, pixi_project="/work/projects/analysis")


@pytest.mark.weakness(33)
def test_the_notebooks_own_variables_stay_there(testbed_site):
    env = {
        "JUPYTERHUB_API_TOKEN": "secret",
        "HOME": "/home/alice",
        "DASK_GATEWAY_API_URL": "http://elsewhere",
        "PYTHONPATH": "/depot/cms/lib",
        "PATH": "/opt/x/bin",
    }
    variables = ask(testbed_site, pixi_project=PROJECT, env=env).variables
    assert variables == {
        "USER": "alice",
        "LOGNAME": "alice",
        "PYTHONPATH": "/depot/cms/lib",
        "PATH": f"{PROJECT}/.pixi/envs/default/bin:/opt/x/bin",
    }


@pytest.mark.weakness(10)
@pytest.mark.parametrize("name", ["SLURM_CONF", "SBATCH_EXPORT", "SLURMD_NODENAME", "SALLOC_CONF", "SCANCEL_USER"])
def test_variables_of_slurms_commands_stay_in_the_notebook(testbed_site, name):
    assert name not in ask(testbed_site, Backend.SLURM, pixi_project=PROJECT, env={name: "x"}).variables


@pytest.mark.weakness(32)
@pytest.mark.parametrize("name", ["BASH_FUNC_module%%", "a,b", "A=B", "", "1A", "A B", "A\n", "Ä", "A\0"])
def test_names_that_no_shell_takes_are_left_out(testbed_site, name):
    variables = ask(testbed_site, pixi_project=PROJECT, env={name: "() {  :; }", "ALL": "all"}).variables
    assert set(variables) == {"USER", "LOGNAME", "PATH", "ALL"}


@pytest.mark.weakness(24)
def test_path_is_made_when_env_has_none(testbed_site):
    path = ask(testbed_site, pixi_project=PROJECT).variables["PATH"]
    assert path == f"{PROJECT}/.pixi/envs/default/bin:{environment_variables.SYSTEM_PATH}"


@pytest.mark.weakness(34)
def test_what_the_user_sets_comes_before_what_the_site_adds(testbed_site):
    added = testbed_site.environment_variables.model_copy(update={"added": {"PYTHONWARNINGS": "ignore", "A": "site"}})
    variables = environment_variables.for_workers({"PYTHONWARNINGS": "error", "USER": "me"}, "/p", "alice", added)
    assert variables == {
        "PYTHONWARNINGS": "error",
        "A": "site",
        "USER": "me",
        "LOGNAME": "alice",
        "PATH": f"/p/bin:{environment_variables.SYSTEM_PATH}",
    }


def test_no_value_is_remembered_with_the_options(testbed_site):
    given = options.cluster_options(testbed_site, Backend.SLURM).parse_options({"env": {"A": "value"}})
    assert options.kept(given) == {**given, "env": {}}


@given(st.dictionaries(st.from_regex(r"[A-Z]{3,8}", fullmatch=True), st.text().filter(lambda text: "\0" not in text)))
def test_values_keep_every_character(testbed_site, env):
    kept = environment_variables.for_workers(env, "/p", "alice", testbed_site.environment_variables)
    for name, value in env.items():
        if name != "PATH" and not environment_variables.is_withheld(name, testbed_site.environment_variables):
            assert kept[name] == value


def test_too_much_is_refused(testbed_site):
    bound = testbed_site.environment_variables.maximum_bytes
    assert f"at most {bound}" in refusal(testbed_site, pixi_project=PROJECT, env={"A": "x" * bound})


@given(st.text(max_size=40))
def test_no_path_leaves_the_storage_of_the_table(testbed_site, text):
    """An accepted path lies in a volume that workers see, and has no character with a meaning to a shell."""
    for option in ("pixi_project", "conda_env"):
        for path in (text, f"/depot/cms/{text}"):
            try:
                prefix = ask(testbed_site, Backend.SLURM, **{option: path}).environment.prefix
            except Refusal:
                continue
            assert prefix.startswith(("/depot/cms", "/cvmfs", "/eos/purdue"))
            assert not set(prefix) & set(" \t\n\"'`$;&|<>(){}[]*?!\\#%")
            assert "/../" not in f"{prefix}/"

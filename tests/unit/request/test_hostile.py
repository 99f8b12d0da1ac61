"""Test with generated input that a request is refused without a secret in the text, or accepted as it stands."""

import math
import os
import posixpath
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.as_user import preflight
from gateway.errors import Refusal
from gateway.identity import accounts
from gateway.identity.accounts import Account
from gateway.kubernetes import names
from gateway.request import environment_variables, environments, options, storage
from gateway.site import Backend
from tests.unit.hostile import HOSTILE, json_values, many, text

backends = st.sampled_from(Backend)
MEANINGFUL = set(" \t\n\r\0'\"`$(){}[];&|<>*?!\\#%:")
"""Characters that have a meaning to shells, sbatch, PATH or Kubernetes."""


def said(refusal: Refusal) -> str:
    """Return the text of a refusal, and check that it fits into an HTTP reason."""
    message = str(refusal)
    assert message
    assert message.encode()
    assert not set(message) & set("\r\n\0")
    return message


@many
@given(name=st.one_of(text, st.from_regex(r"[a-z][a-z0-9._-]{0,8}(-cern|-fnal)?(\n| |-CERN|-cern)?", fullmatch=True)))
@example(name="a-cern-b")
@example(name="alice\n")
@example(name="\uff41lice")
@pytest.mark.weakness(4, 9)
def test_a_name_is_refused_or_harmless_and_of_the_class_of_its_end(testbed_site, name):
    try:
        found = accounts.classify(name, testbed_site.identity.classes)
    except Refusal as refusal:
        said(refusal)
        return
    assert re.fullmatch(r"[a-z][a-z0-9._-]*", name, re.ASCII)
    assert "/" not in name
    endings = {"cern": "-cern", "fnal": "-fnal"}
    wanted = [user_class for user_class, ending in endings.items() if name.endswith(ending)]
    assert found.name == (wanted[0] if wanted else "purdue")


prefixes = st.sampled_from(
    ["", "/", "//", "/depot/cms", "/depot/cms/", "/work/", "/cvmfs/", "/eos/purdue/../", "/home/"]
)
almost_harmless = st.sampled_from(HOSTILE).map(lambda letter: f"a{letter}b")
parts = st.lists(
    st.one_of(almost_harmless, st.sampled_from(["..", ".", "", "a", "depot", "cms", "work", "~", "-rf"]), text),
    max_size=5,
)
paths = st.builds(lambda prefix, rest: prefix + "/".join(rest), prefixes, parts)
classes = st.sampled_from(["purdue", "cern", "fnal"])


@many
@given(path=paths, backend=backends, user_class=classes)
@pytest.mark.weakness(22, 28, 31)
def test_a_path_is_refused_or_on_storage_that_workers_see(testbed_site, path, backend, user_class):
    try:
        checked = storage.checked_path("conda_env", path, testbed_site, backend, user_class)
    except Refusal as refusal:
        said(refusal)
        return
    assert checked == "/" + posixpath.normpath(path).lstrip("/")
    assert ".." not in checked.split("/")
    seen = [mount.volume.path for mount in storage.mounts(testbed_site, backend, user_class)]
    assert any(checked == volume or checked.startswith(f"{volume}/") for volume in seen)


@many
@given(
    pixi_project=st.one_of(st.just(""), paths),
    pixi_env=st.one_of(st.just("default"), st.just("my-env"), text),
    conda_env=st.one_of(st.just(""), paths),
    backend=backends,
)
@pytest.mark.weakness(27, 28, 31)
def test_an_environment_is_refused_or_has_no_meaning_to_a_shell(
    testbed_site, pixi_project, pixi_env, conda_env, backend
):
    try:
        environment = environments.chosen(
            pixi_project=pixi_project,
            pixi_env=pixi_env,
            conda_env=conda_env,
            site=testbed_site,
            backend=backend,
            user_class="purdue",
        )
    except Refusal as refusal:
        said(refusal)
        return
    assert not (conda_env and pixi_project)
    assert not set(environment.prefix) & MEANINGFUL
    assert environment.prefix.isascii()
    assert posixpath.normpath(environment.prefix) == environment.prefix
    assert (environment.name is None) == bool(conda_env)
    seen = [mount.volume.path for mount in storage.mounts(testbed_site, backend, "purdue")]
    assert any(storage.is_within(environment.prefix, volume) for volume in seen)


numbers = st.one_of(
    json_values,
    st.integers(min_value=-(10**400), max_value=10**400),
    st.floats(min_value=-1, max_value=100),
    st.sampled_from([10**5000, -(10**5000), -0.0, 0.1, 0.1 - 1e-17, 5e-324, 1.7e308, "4", "4G", "NaN", 64, 256]),
)


@many
@given(cores=numbers, memory=numbers, backend=backends)
@pytest.mark.weakness(30)
def test_numbers_are_refused_or_within_the_sites_bounds(testbed_site, cores, memory, backend):
    gateway = testbed_site.gateway(backend)
    try:
        given_options = options.cluster_options(testbed_site, backend).parse_options(
            {"worker_cores": cores, "worker_memory": memory, "conda_env": "/depot/cms/c"}
        )
        account = Account("alice", 20001, 20000, ())
        request = options.request_of(given_options, "alice", "purdue", account, testbed_site, backend)
    except Refusal as refusal:
        message = said(refusal)
        assert "worker_" in message
        assert len(message) < 300
        return
    assert gateway.worker_cores.minimum <= request.worker_cores <= gateway.worker_cores.maximum
    assert not gateway.worker_cores.whole or float(request.worker_cores).is_integer()
    bytes_of = [bound * options.GIB for bound in (gateway.worker_memory_gib.minimum, gateway.worker_memory_gib.maximum)]
    assert math.floor(bytes_of[0]) <= request.worker_memory_bytes <= bytes_of[1]


@many
@given(
    request=st.one_of(json_values, st.dictionaries(st.sampled_from(["pixi_env", "conda_env", "env", "x"]), json_values))
)
@pytest.mark.weakness(30)
def test_whatever_is_asked_for_is_refused_or_an_option(testbed_site, request):
    try:
        parsed = options.cluster_options(testbed_site, Backend.SLURM).parse_options(request)
    except Refusal as refusal:
        said(refusal)
        return
    assert set(request) <= set(parsed)
    assert isinstance(parsed["env"], dict)


MARK = "\u2622"
"""A character that stands in every value, and in no name, so that no message may hold it."""
variable_names = st.one_of(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True),
    st.sampled_from(
        ["PATH", "HOME", "LD_PRELOAD", "PYTHONPATH", "BASH_FUNC_x%%", "A=B", "", "A\0", "SLURM_CONF", "JPY_API_TOKEN"]
    ),
    text,
).filter(lambda name: MARK not in name)
values = st.one_of(
    st.builds(lambda before, after: before + MARK + after, text, text),
    st.binary(max_size=20).map(lambda content: MARK + os.fsdecode(content.replace(b"\0", b""))),
    st.lists(st.just(MARK), max_size=2),
    st.integers(),
    st.none(),
)


@many
@given(env=st.dictionaries(variable_names, values, max_size=4))
@pytest.mark.weakness(10, 30, 32, 33)
def test_variables_are_refused_or_arrive_as_they_are(testbed_site, env):
    try:
        variables = environment_variables.for_workers(env, "/depot/cms/c", "alice", testbed_site.environment_variables)
    except Refusal as refusal:
        message = said(refusal)
        assert MARK not in message
        return
    arrived = preflight.parsed(environment_variables.encoded(variables))
    assert arrived == variables
    assert arrived["PATH"].startswith("/depot/cms/c/bin:")
    for name, value in arrived.items():
        assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name, re.ASCII)
        assert not name.startswith(("SLURM_", "SBATCH_", "JUPYTERHUB_", "JPY_"))
        assert name != "HOME"
        assert value == env.get(name, value) or name == "PATH"
        assert os.fsencode(value) == value.encode("utf-8", "surrogateescape")


@many
@given(
    env=st.fixed_dictionaries(
        {},
        optional={
            name: st.one_of(
                st.sampled_from(
                    ["30001", "30002", "0", " 30002", "30002\n", "030002", "\uff13\uff10\uff10\uff10\uff12", "-30002"]
                ),
                values,
            )
            for name in accounts.IDENTITY_VARIABLES
        },
    )
)
@pytest.mark.weakness(3, 14)
def test_a_claim_is_refused_or_the_numbers_in_their_only_form(env):
    account = Account("paf1002", 30002, 30001, ())
    try:
        accounts.check_claim(env, account, "FNAL")
    except Refusal as refusal:
        message = said(refusal)
        assert MARK not in message
        return
    assert env == {"NB_UID": "30002", "NB_GID": "30001"}


@many
@given(text.filter(lambda value: not any(0xD800 <= ord(letter) < 0xE000 for letter in value)))
@pytest.mark.weakness(35)
def test_every_text_has_a_label(value):
    label = names.label_value(value)
    assert re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?", label, re.ASCII)
    assert label == value or re.search(r"[0-9a-f]{16}$", label)

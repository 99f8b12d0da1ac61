"""Test which programs fit, where they come from, and what the testbed tells an administrator."""

import subprocess
from pathlib import Path

import pytest

from testbed import pid_files
from testbed.toolchain import debian, docker_engine, go, programs, versions
from testbed.toolchain.programs import KIND_BUILD, Program

BUILDS = [value for value in vars(programs).values() if isinstance(value, go.GoBuild)]


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("Client Version: v1.32.4-dispatcher\nKustomize Version: v5.5.0", (1, 32, 4)),
        ("go version 1.26.8 linux/amd64", (1, 26, 8)),
        ("go version 1.26rc1 linux/amd64", (1, 26, 0)),
        ("kind v0.33.0 go1.26.8 linux/amd64", (0, 33, 0)),
        ("v3.259.0", (3, 259, 0)),
        ("26.1.5+dfsg1", (26, 1, 5)),
        ("", None),
        ("no version here", None),
    ],
)
def test_parse_finds_the_first_version(output: str, version: versions.Version | None) -> None:
    assert versions.parse(output) == version


@pytest.mark.parametrize(
    ("version", "fits"),
    [((1, 32, 4), False), ((1, 33, 0), True), ((1, 35, 9), True), ((1, 36, 0), False), (None, False)],
)
def test_kubectl_may_be_one_minor_version_away(version: versions.Version | None, fits: bool) -> None:
    assert versions.KUBECTL_COMMAND.fits(version) is fits


def test_the_cluster_version_is_in_the_middle_of_kubectl_range() -> None:
    major, minor, _ = versions.parse(versions.KUBERNETES) or (0, 0, 0)
    assert versions.Range((major, minor - 1, 0), (major, minor + 2, 0)) == versions.KUBECTL_COMMAND


@pytest.mark.parametrize(
    ("module", "version"),
    [
        ("k8s.io/kubernetes", versions.KUBERNETES),
        ("github.com/coredns/coredns", versions.COREDNS),
        ("github.com/pulumi/pulumi/pkg/v3", versions.PULUMI),
    ],
)
def test_stamped_versions_are_those_of_the_modules(module: str, version: str) -> None:
    pins = "".join((build.directory / "go.mod").read_text() for build in BUILDS)
    assert f"{module} v{version} " in pins


def test_go_is_new_enough_for_every_module() -> None:
    for build in BUILDS:
        lines = (build.directory / "go.mod").read_text().splitlines()
        wanted = versions.parse(next(line for line in lines if line.startswith("go ")))
        assert versions.GO_COMMAND.fits(wanted) or (wanted and wanted < versions.GO_COMMAND.minimum), build.name


@pytest.mark.parametrize(
    ("version", "toolchain"),
    [((1, 19, 8), None), ((1, 24, 4), f"go{versions.GO}"), ((1, 26, 8), "local"), ((1, 27, 0), "local"), (None, None)],
)
def test_an_older_go_fetches_a_newer_one(version: versions.Version | None, toolchain: str | None) -> None:
    found = go.choose_toolchain(Path("/usr/bin/go"), version)
    assert (found.toolchain if found else None) == toolchain


def test_the_key_of_a_build_follows_its_pins_and_flags() -> None:
    keys = {build.programs.key for build in BUILDS}
    assert len(keys) == len(BUILDS)
    other = go.GoBuild("kind", duration="", stamps={"main.version": "2"})
    assert other.programs.key != KIND_BUILD.programs.key
    assert other.program("kind").key == f"{other.programs.key}/kind"


def _program(directory: Path, version: str, companions: tuple[str, ...] = ()) -> Program:
    path = directory / "tool"
    path.write_text(f"#!/bin/sh\necho tool {version}\n")
    path.chmod(0o755)
    return Program("tool", ("version",), versions.Range((1, 2, 0), (2, 0, 0)), KIND_BUILD, companions)


@pytest.mark.parametrize(
    ("version", "used"), [("v1.2.0", True), ("1.1.9", False), ("2.0.0", False), ("unknown", False)]
)
def test_a_program_of_path_is_used_when_its_version_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, used: bool
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert (_program(tmp_path, version).on_path is not None) is used


def test_a_program_of_path_needs_its_companions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert _program(tmp_path, "1.2.3", ("helper",)).on_path is None
    (tmp_path / "helper").touch()
    assert _program(tmp_path, "1.2.3", ("helper",)).on_path == tmp_path / "tool"


DEB822 = """\
Types: deb
# a comment
URIs: http://archive.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/key.gpg

Types: deb
URIs: http://archive.example/debian-security
Suites: bookworm-security
Components: main
"""


def test_trixie_comes_from_where_bookworm_comes_from() -> None:
    assert debian.trixie_sources(DEB822) == (
        "Types: deb\nURIs: http://archive.example/debian\nSuites: trixie\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/key.gpg\n"
    )


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("deb http://archive.example/debian bookworm main", "/usr/share/keyrings/debian-archive-keyring.gpg"),
        ("deb [arch=amd64 signed-by=/k.gpg] http://archive.example/debian bookworm main", "/k.gpg"),
    ],
)
def test_trixie_comes_from_a_one_line_source_too(line: str, key: str) -> None:
    text = debian.trixie_sources(f"deb http://archive.example/security bookworm-security main\n{line}\n")
    assert "URIs: http://archive.example/debian\n" in text
    assert "Suites: trixie\n" in text
    assert f"Signed-By: {key}\n" in text


def test_a_source_without_bookworm_is_refused() -> None:
    with pytest.raises(ValueError, match="bookworm"):
        debian.trixie_sources("deb http://archive.example/debian bullseye main\n")


def test_who_is_not_root_gets_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(debian.AdministratorNeededError) as caught:
        debian.ensure_programs(("no-such-program",), ("tool", "other"), "A tool is missing")
    assert caught.value.commands == ("apt-get update", "apt-get install --no-install-recommends tool other")
    assert str(caught.value).startswith("A tool is missing. Ask an administrator to run as root:\n  apt-get update\n")


def test_commands_for_trixie_packages_bring_its_source_and_pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "TRIXIE_SOURCES", tmp_path / "trixie.sources")
    monkeypatch.setattr(debian, "TRIXIE_PREFERENCES", tmp_path / "trixie")
    commands = debian.installation_commands(["tool/trixie"], debian.trixie_sources(DEB822))
    subprocess.run(["sh", "-c", "\n".join(commands[:2])], check=True, capture_output=True)
    assert (tmp_path / "trixie.sources").read_text() == debian.trixie_sources(DEB822)
    assert (tmp_path / "trixie").read_text() == debian.PREFERENCES_TEXT


def test_nothing_is_installed_when_the_programs_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "install", lambda *_: pytest.fail("installs"))
    debian.ensure_programs(("sh", "ls"), ("tool",), "A tool is missing")


@pytest.mark.parametrize(
    ("text", "name", "valid"),
    [("17\n", "dockerd", True), ("17", "bash", False), ("17", None, False), ("", "dockerd", False), ("x", "x", False)],
)
def test_a_pid_file_is_valid_only_for_its_program(text: str, name: str | None, valid: bool) -> None:
    assert pid_files.is_valid(text, "dockerd", lambda _: name) is valid


def test_links_of_containers_are_the_ports_of_docker_s_bridges(tmp_path: Path) -> None:
    masters = {"veth0": "br-295d23b1ddfb", "veth1": "docker0", "veth2": "br0", "eth0": None}
    for bridge in ("br-295d23b1ddfb", "docker0", "br0"):
        (tmp_path / bridge).mkdir()
    for link, master in masters.items():
        (tmp_path / link).mkdir()
        if master:
            (tmp_path / link / "master").symlink_to(f"../{master}")
    assert docker_engine.links_of_containers(tmp_path) == ["veth0", "veth1"]

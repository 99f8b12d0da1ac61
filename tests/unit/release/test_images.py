"""Test that a site's images are built from everything that they need, and that their references fit the site file."""

import ast
import re
from pathlib import PurePosixPath

import pytest
import yaml

from gateway.as_user import preflight
from gateway.kubernetes import pod_paths
from gateway.site import Images
from release import content, image, images, process
from release.__main__ import options, site_lines
from release.image import ReadyImage
from release.paths import ROOT

BASE = ReadyImage("registry.example/base:1")
IMAGES = (images.server(BASE), images.environment(BASE))


def copied(dockerfile):
    """Source in the build context -> target in the image, of the COPY instructions."""
    pairs = {}
    for arguments in re.findall(r"^COPY (.*)$", dockerfile.read_text(), re.MULTILINE):
        *sources, target = arguments.split()
        pairs |= dict.fromkeys(sources, target)
    return pairs


@pytest.mark.parametrize("built", IMAGES, ids=lambda built: built.name)
def test_the_build_context_has_all_that_the_dockerfile_copies(built):
    assert set(copied(built.dockerfile)) == set(built.inputs)


def test_pods_find_preflight_and_preload_where_the_image_has_them():
    target = copied(ROOT / "gateway" / "Dockerfile.environment")["as_user"]
    started = [PurePosixPath(path) for path in (pod_paths.PREFLIGHT, pod_paths.PRELOAD)]
    assert {str(path.parent) for path in started} == {target}
    for name in (*(path.name for path in started), *preflight.COMPANIONS):
        assert (ROOT / "gateway" / "as_user" / name).is_file()


def test_another_base_gives_another_tag():
    assert images.environment(ReadyImage("registry.example/base:2")).digest != IMAGES[1].digest


def test_images_are_built_on_the_base_and_pushed(monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr(image, "image_id", lambda reference: "sha256:1" if reference == BASE.reference else None)
    monkeypatch.setattr(process, "run", lambda command, **_: commands.append([str(part) for part in command]))
    monkeypatch.setattr(images.wheels, "wheelhouse", lambda name: content.Input(name, lambda: tmp_path))
    monkeypatch.setattr(images.wheels, "project_wheel", lambda: content.Input("project", lambda: tmp_path))
    references = images.build(BASE, "registry.example/project/")
    assert [command[1] for command in commands] == ["build", "build", "tag", "push", "tag", "push"]
    assert all("BASE=registry.example/base:1" in command for command in commands[:2])
    assert references["environment"] == f"registry.example/project/dask-gateway-environment:{IMAGES[1].digest}"
    assert [command[-1] for command in commands if command[1] == "push"] == list(references.values())


def test_printed_lines_are_keys_of_the_site_file():
    references = {built.name: built.reference for built in IMAGES}
    (printed,) = yaml.safe_load(site_lines(references))["kubernetes"].values()
    assert printed == references
    assert set(printed) <= set(Images.model_fields)


def test_bundle_is_printed_as_options_of_ansible_playbook():
    assert options({"a": "/x", "b": "/y"}) == "--extra-vars a=/x --extra-vars b=/y"


def test_nothing_here_imports_the_testbed():
    for path in (ROOT / "release").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in names if name.partition(".")[0] in {"testbed", "tests", "infra"}], path

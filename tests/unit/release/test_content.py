"""Test that content keys change with the content, and only with it."""

import pytest

from release import content


def test_a_digest_sees_text_names_content_and_modes(tmp_path):
    directory = tmp_path / "a"
    directory.mkdir()
    file = directory / "f"
    file.write_text("1")
    seen = {content.digest(directory), content.digest(directory, "x"), content.digest("x", directory)}
    file.write_text("2")
    seen.add(content.digest(directory))
    file.chmod(0o755)
    seen.add(content.digest(directory))
    file.rename(directory / "g")
    seen.add(content.digest(directory))
    assert len(seen) == 6
    assert content.digest(directory) == content.digest(directory)


def test_texts_do_not_run_into_each_other():
    assert content.digest("ab", "c") != content.digest("a", "bc")


def test_an_interrupted_entry_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(content, "CACHE", tmp_path)

    def interrupted(directory):
        (directory / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        content.cached("kind", "key", interrupted)
    place = content.cached("kind", "key", lambda directory: (directory / "whole").touch())
    assert [file.name for file in place.iterdir()] == ["whole"]
    assert [path.name for path in (tmp_path / "kind").iterdir()] == ["key"]
    assert content.cached("kind", "key", interrupted) == place

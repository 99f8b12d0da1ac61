"""The documented commands for Hammer, as an administrator types them, up to the first connection to Hammer."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.paths import ROOT

DOCUMENTS = ["ansible/README.md", "docs/administrator-guide.md"]
BUNDLE = "$(python -m release bundle)"
TOKEN = "--extra-vars gateway_hub_token_file="
PARTS = ("ansible-playbook -i ansible/inventories/hammer ansible/hammer.yml", BUNDLE, TOKEN)
"""Parts of each documented command, and of the command in the error message."""
CHECKS = "--tags arguments"
"""Documented options that limit the run to the checks before the first connection."""
STAND_IN = """#!/bin/sh
[ "$*" = "-m release bundle" ] || exit 64
echo --extra-vars gateway_packages_archive=/packages.tar --extra-vars gateway_project_archive=/project.tar \\
  --extra-vars gateway_traefik_program=/traefik
"""
"""Stands for Python, because the real bundle downloads wheels."""
NO_HOST = "--extra-vars ansible_host=192.0.2.1"
"""An address for documentation (RFC 5737), so that no fault of a test can reach Hammer."""


def documented() -> list[str]:
    """Return the commands of the documents' code blocks that run the play, line continuations joined."""
    blocks = [
        block
        for document in DOCUMENTS
        for block in re.findall(r"^```.*?\n(.*?)^```", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)
    ]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [" ".join(line.split()) for line in lines if "ansible-playbook" in line]


@pytest.fixture
def run(tmp_path: Path):
    """Run a shell command in the clone, with the development environment and the stand-in on PATH."""
    stand_in = tmp_path / "python"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "ANSIBLE_NOCOLOR": "1",
    }

    def run_in_clone(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", f"{command} {NO_HOST}"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )

    return run_in_clone


def test_the_documents_have_a_check_run_and_a_run() -> None:
    commands = documented()
    assert all(part in command for command in commands for part in PARTS)
    assert CHECKS in (ROOT / "ansible/README.md").read_text()
    assert {"--check" in command for command in commands} == {True, False}


@pytest.mark.parametrize("command", documented())
def test_documented_command_passes_the_checks(run, command: str) -> None:
    answer = run(f"{command} {CHECKS}")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert re.search(r"ok=2 +changed=0 .* failed=0 ", answer.stdout), answer.stdout


def test_without_archives_and_token_the_error_names_them_and_the_command(run) -> None:
    command = documented()[0]
    for argument in (BUNDLE, f"{TOKEN}$HOME/hub-token"):
        assert argument in command
        command = command.replace(argument, "")
    answer = run(command)
    assert answer.returncode != 0
    names = "gateway_packages_archive, gateway_project_archive, gateway_traefik_program, gateway_hub_token_file"
    assert f"The role gateway needs {names}." in answer.stdout
    assert all(part in answer.stdout for part in PARTS)
    assert "unreachable=0" in answer.stdout, "the checks come before the first connection"

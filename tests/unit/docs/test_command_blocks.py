"""Each command block of the documents is run by a test, or says why no test can run it.

The HTML comment on the line before a fence says which:

- ``run: unit``: a test of this module runs it in the clone.
- ``run: ci``: it has ``make`` targets only, and ``.ci/run`` makes all of them.
- ``run: e2e PATH``: that module of ``tests/e2e`` runs it: it names the document or has the block's commands.
- ``snippet: NAME``: tests of ``tests/e2e`` run that snippet of the user guide.
- ``not run: REASON``
"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.docs.documents import DOCUMENTS, ROOT, blocks_of, make_targets

COMMANDS = ("python", "sh")
LANGUAGES = (*COMMANDS, "text", "yaml")
BLOCKS = [block for path in DOCUMENTS for block in blocks_of(path)]
SECONDS = 60
LEAST_WORDS = 3
"""Of a reason: fewer say nothing."""


def fault_of(block, root=ROOT):
    """Return what is wrong with a block's language or mark; None if nothing is."""
    if block.language not in LANGUAGES:
        return f"name the fence's language, one of {', '.join(LANGUAGES)}"
    if block.language not in COMMANDS:
        return None
    kind, _, detail = block.mark.partition(": ")
    check = CHECKS.get(kind)
    return check(block, detail, root) if check else "write a mark on the line before the fence (test_command_blocks.py)"


def fault_of_run(block, detail, root):
    where, _, name = detail.partition(" ")
    match where:
        case "unit":
            return None
        case "ci":
            return fault_of_ci(block, root)
        case "e2e":
            return fault_of_e2e(block, name, root)
    return f"{where!r} is not a way to run it: use unit, ci or e2e"


def fault_of_ci(block, root):
    rules = make_targets((root / "Makefile").read_text())
    made, waiting = set(), re.findall(r"\bmake ([a-z-]+)", (root / ".ci" / "run").read_text())
    while waiting:
        target = waiting.pop()
        if target not in made:
            made.add(target)
            waiting += rules.get(target, [])
    lines = [line.partition("#")[0].split() for line in block.text.splitlines()]
    others = [" ".join(words) for words in lines if words and (words[:1] != ["make"] or not set(words[1:]) <= made)]
    return f".ci/run does not run: {', '.join(others)}" if others else None


def fault_of_e2e(block, name, root):
    path = root / name
    if not (name.startswith("tests/e2e/") and path.is_file()):
        return f"{name!r} is not a module of tests/e2e"
    text = path.read_text()
    commands = [line.partition("#")[0].strip() for line in block.text.splitlines()]
    if block.document in text or all(command in text for command in commands):
        return None
    return f"{name} neither names {block.document} nor has the block's commands"


def fault_of_snippet(_block, name, root):
    known = [pattern for path in sorted((root / "tests" / "e2e").glob("*.py")) for pattern in snippets_in(path)]
    if any(re.fullmatch(pattern, name) for pattern in known):
        return None
    return f"no test of tests/e2e runs the snippet {name!r}"


def fault_of_reason(_block, reason, _root):
    return None if len(reason.split()) >= LEAST_WORDS else "say why no test can run it"


CHECKS = {"run": fault_of_run, "snippet": fault_of_snippet, "not run": fault_of_reason}


def snippets_in(path):
    """Return patterns of the snippets' names that a test module runs: literals in calls and in lists beside them.

    They are the strings of functions that call ``snippet``, and of ``parametrize`` with an argument of that name.
    """
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and any(is_call(inner, "snippet") for inner in ast.walk(node)):
            yield from (pattern for inner in ast.walk(node) for pattern in patterns_of(inner))


def is_call(node, name):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name


def patterns_of(node):
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield re.escape(node.value)
    elif isinstance(node, ast.JoinedStr):
        parts = [re.escape(part.value) if isinstance(part, ast.Constant) else "[a-z]+" for part in node.values]
        if any(isinstance(part, ast.Constant) for part in node.values):
            yield "".join(parts)


def run(block, root=ROOT):
    """Run a block as a reader would, in the clone with the virtual environment active."""
    command = ["sh", "-eu", "-c"] if block.language == "sh" else [sys.executable, "-c"]
    programs = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [*command, block.text],
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_block_is_run_or_says_why_not(block):
    assert fault_of(block) is None


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.mark == "run: unit"], ids=str)
def test_block_runs(block):
    ended = run(block)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def synthetic(tmp_path, mark, text, language="sh"):
    """Return the only block of a document that has it."""
    path = tmp_path / "document.md"
    path.write_text(f"# Title\n\n{mark}\n```{language}\n{text}\n```\n")
    (block,) = blocks_of(path)
    return block


@pytest.fixture
def project(tmp_path):
    (tmp_path / "tests" / "e2e").mkdir(parents=True)
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "run").write_text("exec make test\n")
    (tmp_path / "Makefile").write_text("A = x\ntest: lint up ## All\nlint: .venv/ready\n\tdo\nup:\ndown:\n")
    (tmp_path / "tests" / "e2e" / "test_a.py").write_text(
        'def test_a(kernel, kind):\n    kernel.snippet(f"connect-{kind}")\n    kernel.run("made-up --option")\n'
        'def other(kernel):\n    kernel.run("create")\n'
    )
    (tmp_path / "tests" / "e2e" / "test_b.py").write_text('"""Runs what document.md says."""\n')
    return tmp_path


@pytest.mark.parametrize(
    ("mark", "text", "part"),
    [
        ("", "ls", "write a mark"),
        ("<!-- a comment -->", "ls", "write a mark"),
        ("<!-- run: somewhere -->", "ls", "use unit, ci or e2e"),
        ("<!-- run: ci -->", "make test down", "does not run: make test down"),
        ("<!-- run: ci -->", "ls", "does not run: ls"),
        ("<!-- run: e2e tests/e2e/test_gone.py -->", "ls", "is not a module"),
        ("<!-- run: e2e tests/unit/test_a.py -->", "ls", "is not a module"),
        ("<!-- run: e2e tests/e2e/test_a.py -->", "ls", "neither names document.md"),
        ("<!-- snippet: create -->", "ls", "no test of tests/e2e"),
        ("<!-- not run: hard -->", "ls", "say why"),
    ],
)
def test_faults_of_a_synthetic_document_are_found(mark, text, part, project):
    assert part in fault_of(synthetic(project, mark, text), project)


@pytest.mark.parametrize(
    ("mark", "text"),
    [
        ("<!-- run: unit -->", "ls"),
        ("<!-- run: ci -->", "make up    # first\nmake test"),
        ("<!-- run: e2e tests/e2e/test_a.py -->", "made-up --option"),
        ("<!-- run: e2e tests/e2e/test_b.py -->", "ls"),
        ("<!-- snippet: connect-slurm -->", "ls"),
        ("<!-- not run: needs a machine of Hammer -->", "ls"),
    ],
)
def test_good_marks_are_taken(mark, text, project):
    assert fault_of(synthetic(project, mark, text), project) is None


def test_fence_needs_a_language(tmp_path):
    assert "language" in fault_of(synthetic(tmp_path, "<!-- run: unit -->", "ls", language=""))


def test_block_that_fails_is_seen(tmp_path):
    failing = synthetic(tmp_path, "<!-- run: unit -->", "false\ntrue")
    assert run(failing, tmp_path).returncode == 1
    python = synthetic(tmp_path, "<!-- run: unit -->", "import sys\nsys.exit(3)", language="python")
    assert run(python, tmp_path).returncode == 3


def test_block_of_a_list_is_seen(tmp_path):
    path = tmp_path / "document.md"
    path.write_text("1. A step:\n\n   <!-- run: unit -->\n   ```sh\n   if true; then\n     false\n   fi\n   ```\n")
    (block,) = blocks_of(path)
    assert (block.mark, block.line) == ("run: unit", 4)
    assert block.text == "if true; then\n  false\nfi\n"
    assert run(block, tmp_path).returncode == 1


def test_fence_that_never_ends_is_an_error(tmp_path):
    path = tmp_path / "document.md"
    path.write_text("```sh\nls\n")
    with pytest.raises(ValueError, match=r"document\.md:1: the fence never ends"):
        blocks_of(path)

"""The user guide as data: its snippets and tables, for the demo and for tests that check its promises."""

import re
from collections.abc import Mapping

from release.paths import ROOT

GUIDE = ROOT / "docs" / "user-guide.md"
SNIPPET = re.compile(r"^<!-- snippet: (?P<name>[a-z-]+) -->\n```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
PIXI_PROJECT = "/path/to/pixi/project"
CONDA_ENVIRONMENT = "/path/to/conda/environment"
VOMS_PROXY = "/path-to-voms-proxy/"
PATHS = (PIXI_PROJECT, CONDA_ENVIRONMENT, VOMS_PROXY)
"""Example paths that a reader has to replace. A snippet that runs here changes in nothing else."""


def text() -> str:
    """Return the whole guide."""
    return GUIDE.read_text()


def snippets() -> dict[str, str]:
    """Return name -> code, in the guide's order. Raises ``ValueError`` when a name stands twice."""
    found = [(match["name"], match["code"]) for match in SNIPPET.finditer(text())]
    names = [name for name, _ in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"{GUIDE}: the snippet {name!r} stands {names.count(name)} times: give each snippet a name of its own"
            )
    return dict(found)


def snippet(name: str, paths: Mapping[str, str] | None = None) -> str:
    """Return a snippet's code with its example paths replaced. Raises ``KeyError`` for an unknown name."""
    code = snippets()[name]
    for example, path in (paths or {}).items():
        code = code.replace(example, path)
    return code


def table(heading: str) -> list[list[str]]:
    """Return the rows of cells, header first, of the table whose header contains ``heading``.

    Raises ``LookupError`` unless there is exactly one.
    """
    blocks = re.findall(r"(?:^\|.*\|\n)+", text(), re.MULTILINE)
    found = [block for block in blocks if heading in block.splitlines()[0]]
    if len(found) != 1:
        raise LookupError(f"{GUIDE}: {len(found)} tables have a header that contains {heading!r}; exactly one must")
    header, _, *rows = found[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (header, *rows)]

"""The table of rooms in docs/architecture.md, made of the packages' docstrings.

``python -m tests.unit.docs.room_table`` writes it. A room without a docstring keeps the purpose in the table.
"""

import ast
import re

from tests.unit.docs.documents import ROOT

DOCUMENT = ROOT / "docs" / "architecture.md"
NOT_ROOMS = {"build"}
TABLE = re.compile(r"(?<=<!-- rooms -->\n).*?(?=<!-- end of rooms -->)", re.DOTALL)
ROW = re.compile(r"^\| `(?P<room>[^`]+)/` \| (?P<purpose>.*) \|$", re.MULTILINE)
MISSING = "(write the purpose here)"


def written(text):
    """Return room -> purpose, as a document's table says."""
    return {row["room"]: row["purpose"] for row in ROW.finditer(TABLE.search(text)[0])}


def rooms(root):
    """Return room -> first line of its docstring, or None: top directories, and the packages inside of ``gateway/``."""
    tops = [path for path in root.iterdir() if path.is_dir() and _has_content(path)]
    packages = [path.parent for path in (root / "gateway").rglob("__init__.py")]
    return {str(path.relative_to(root)): _purpose(path) for path in sorted({*tops, *packages})}


def _has_content(directory):
    if directory.name.startswith(".") or directory.name in NOT_ROOMS or directory.suffix == ".egg-info":
        return False
    return any(path.is_file() and path.suffix != ".pyc" for path in directory.rglob("*"))


def _purpose(directory):
    module = directory / "__init__.py"
    docstring = ast.get_docstring(ast.parse(module.read_text())) if module.is_file() else None
    return docstring.splitlines()[0].replace("``", "`").replace("|", "\\|") if docstring else None


def expected(text, root):
    """Return the document's text with a table that agrees with the packages."""
    known = written(text)
    rows = [f"| `{room}/` | {purpose or known.get(room, MISSING)} |\n" for room, purpose in sorted(rooms(root).items())]
    table = "".join(["| room | purpose |\n|---|---|\n", *rows])
    return TABLE.sub(lambda _: table, text)


if __name__ == "__main__":
    DOCUMENT.write_text(expected(DOCUMENT.read_text(), ROOT))

"""Paths, links, modules and make targets that the documents name exist."""

import re

import pytest

from tests.unit.docs import documents
from tests.unit.docs.documents import DOCUMENTS, LINK, ROOT, code_in, make_targets, name_of, prose_of

ROOMS = ("ansible", "docs", "gateway", "infra", "monitoring", "release", "requirements", "sites", "testbed", "tests")
PLACEHOLDER = "NAME"
"""Stands for any name of a site or file."""
MODULE = re.compile(rf"\bpython3? (?:-I )?-m ((?:{'|'.join(ROOMS)})[\w.]*)")
MAKE = re.compile(r"^make ([a-z][a-z-]*)")
EACH = pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)


def paths_in(code):
    """Return the words of a piece of code that name files or directories of the project."""
    words = [word.strip(".,:;()'\"").partition("=")[0] for word in code.split()]
    return [word for word in words if word.partition("/")[0] in ROOMS and "/" in word]


def exists(word, root=ROOT):
    return any(root.glob(word.rstrip("/").replace(PLACEHOLDER, "*")))


def is_module(name, root=ROOT):
    place = root.joinpath(*name.split("."))
    return place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()


def anchors_of(file):
    headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def broken_links(path):
    """Return the links of a document to files or headings that do not exist."""
    broken = []
    for target in LINK.findall(prose_of(path)):
        if re.match(r"[a-z]+:", target):
            continue
        file_name, _, anchor = target.partition("#")
        file = (path.parent / file_name) if file_name else path
        if not file.exists() or (anchor and anchor not in anchors_of(file)):
            broken.append(target)
    return broken


@EACH
def test_paths_exist(path):
    assert [word for code in code_in(path) for word in paths_in(code) if not exists(word)] == []


@EACH
def test_bare_file_names_exist(path):
    names = {code for code in code_in(path) if re.fullmatch(r"\w+\.py", code)}
    known = {file.name for room in ROOMS for file in (ROOT / room).rglob("*.py")}
    assert sorted(names - known) == []


@EACH
def test_links_lead_somewhere(path):
    assert broken_links(path) == []


@EACH
def test_modules_exist(path):
    assert [name for code in code_in(path) for name in MODULE.findall(code) if not is_module(name)] == []


@EACH
def test_make_targets_exist(path):
    known = make_targets((ROOT / "Makefile").read_text())
    assert [name for code in code_in(path) for name in MAKE.findall(code) if name not in known] == []


SYNTHETIC = """# A title
`gateway/gone.py`, `sites/NAME.yaml`, `tests/*.yaml` and [a link](gone.md), [another](#a-title), [a third](#no-title).

| before | now |
|---|---|
| `python -m testbed.gone` | `python -m release.gone x` |

```sh
make gone   # python -m infra.comment
```
"""


def test_faults_of_a_synthetic_document_are_found(tmp_path):
    path = tmp_path / "document.md"
    path.write_text(SYNTHETIC)
    code = code_in(path)
    assert [word for part in code for word in paths_in(part) if not exists(word)] == ["gateway/gone.py", "tests/*.yaml"]
    assert broken_links(path) == ["gone.md", "#no-title"]
    assert [name for part in code for name in MODULE.findall(part)] == ["release.gone"]
    assert [name for part in code for name in MAKE.findall(part)] == ["gone"]


def test_all_documents_are_checked():
    names = {name_of(path) for path in documents.DOCUMENTS}
    assert {"README.md", "CHANGELOG.md", "docs/user-guide.md", "docs/decisions/README.md"} <= names

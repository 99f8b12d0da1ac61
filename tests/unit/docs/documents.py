"""The project's documents as data: text, fenced blocks, inline code, links."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))
FENCE = re.compile(r"^(?P<fence> *```)(?P<language>[a-z]*)$")
COMMENT = re.compile(r"^ *<!-- (?P<text>.*) -->$")
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    document: str
    line: int
    """Number of the line with the opening fence, from 1."""
    mark: str
    """Text of the HTML comment on the line before the fence; empty when there is none."""
    language: str
    text: str

    def __str__(self):
        return f"{self.document}:{self.line}"


def name_of(path):
    """Return a document's path in the project."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def blocks_of(path):
    """Return all fenced blocks of a document. Raises ``ValueError`` for a fence that never ends."""
    found, lines, number = [], path.read_text().splitlines(), 0
    while number < len(lines):
        opening = FENCE.match(lines[number])
        if opening:
            try:
                end = lines.index(opening["fence"], number + 1)
            except ValueError as error:
                raise ValueError(f"{path}:{number + 1}: the fence never ends") from error
            comment = COMMENT.match(lines[number - 1]) if number else None
            text = textwrap.dedent("\n".join(lines[number + 1 : end])) + "\n"
            mark = comment["text"] if comment else ""
            found.append(Block(name_of(path), number + 1, mark, opening["language"], text))
            number = end
        number += 1
    return found


def prose_of(path):
    """Return a document's text without its fenced blocks, and without table cells of a column called "before"."""
    kept, inside, column = [], False, None
    for line in path.read_text().splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside
            continue
        cells = [cell.strip() for cell in line.split("|")]
        if not line.startswith("|"):
            column = None
        elif "before" in cells:
            column = cells.index("before")
        if not inside:
            kept.append(line if column is None else "|".join(cells[:column] + cells[column + 1 :]))
    return "\n".join(kept)


def code_in(path):
    """Return the inline code and the lines of shell blocks in a document."""
    shell = [line for block in blocks_of(path) if block.language == "sh" for line in block.text.splitlines()]
    return [*SPAN.findall(prose_of(path)), *(line.partition("#")[0] for line in shell)]


def make_targets(makefile):
    """Return target -> names of its prerequisites, for a Makefile's text."""
    rules = re.findall(r"^([\w.][\w./ -]*):(?!=)([^#\n]*)", makefile, re.MULTILINE)
    return {target: prerequisites.split() for targets, prerequisites in rules for target in targets.split()}

"""The table of rooms in docs/architecture.md agrees with the packages and their docstrings."""

from tests.unit.docs import room_table
from tests.unit.docs.documents import ROOT

SYNTHETIC = """# Map
<!-- rooms -->
| room | purpose |
|---|---|
| `gateway/` | Old words. |
| `gone/` | A room that does not exist. |
| `sites/` | Written by hand. |
<!-- end of rooms -->
The end.
"""


def test_table_is_the_codes():
    written, on_disk = room_table.written(room_table.DOCUMENT.read_text()), room_table.rooms(ROOT)
    missing, gone = sorted(on_disk.keys() - written.keys()), sorted(written.keys() - on_disk.keys())
    assert (missing, gone) == ([], []), "run: python -m tests.unit.docs.room_table"
    other = {room: purpose for room, purpose in on_disk.items() if purpose not in {None, written[room]}}
    assert not other, "run: python -m tests.unit.docs.room_table"
    assert room_table.MISSING not in written.values()


def test_each_package_of_the_gateway_has_a_purpose():
    rooms = room_table.rooms(ROOT)
    assert not [room for room, purpose in rooms.items() if room.startswith("gateway") and not purpose]


def test_table_is_made_of_docstrings(tmp_path):
    (tmp_path / "gateway" / "inner").mkdir(parents=True)
    (tmp_path / "gateway" / "__init__.py").write_text('"""The gateway.\n\nMore.\n"""\n')
    (tmp_path / "gateway" / "inner" / "__init__.py").write_text('"""A part | of ``it``."""\n')
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "a.yaml").write_text("name: a\n")
    (tmp_path / "empty" / "__pycache__").mkdir(parents=True)
    text = room_table.expected(SYNTHETIC, tmp_path)
    assert room_table.written(text) == {
        "gateway": "The gateway.",
        "gateway/inner": "A part \\| of `it`.",
        "sites": "Written by hand.",
    }
    assert text.startswith("# Map\n")
    assert text.endswith("The end.\n")

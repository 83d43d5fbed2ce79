"""What a report finds in the service's row: pure judging, and the note for the master."""

from datetime import timedelta
from typing import Any

import pytest

from launcher.board.note import TEXT_BYTES, Note
from launcher.serve.row_findings import judge
from tests.unit.test_servicegroup import NOW, ROW

MINE = ROW._replace(start_id="mine", started_on="here (pid 1)")
TOLERANCE = timedelta(seconds=10)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"start_id": "other"}, ["another service of this name runs on here (pid 1) since "]),
        (
            {"rival_on": "there (pid 2)", "rival_since": NOW},
            ["another service of this name runs on there (pid 2) since 2026-01-02 03:04:05 UTC"],
        ),
        ({"rival_on": "there"}, ["another service of this name runs on there"]),
        ({"as_of": NOW - timedelta(seconds=10)}, []),
        (
            {"as_of": NOW - timedelta(seconds=47)},
            ["the clock of this host is 47 s ahead of the database's"],
        ),
        (
            {"as_of": NOW + timedelta(seconds=302)},
            ["the clock of this host is 300 s behind the database's"],
        ),
    ],
)
def test_each_finding_is_a_sentence(changes: dict[str, Any], told: list[str]) -> None:
    """The report took 2 seconds: only what must be wrong is said."""
    found = judge(MINE._replace(**changes), "mine", NOW, NOW + timedelta(seconds=2), TOLERANCE)

    assert len(found) == len(told)
    for finding, begin in zip(found, told, strict=True):
        assert finding.text.startswith(begin)


def test_a_note_is_read_as_it_was_written() -> None:
    note = Note()
    assert note.read() == ""

    for text in ("short", "größer ✓", "", "x" * 2 * TEXT_BYTES):
        note.write(text)
        assert note.read() == text[:TEXT_BYTES]


def test_while_a_note_is_written_the_last_one_is_read() -> None:
    note = Note()
    note.write("before")
    assert note.read() == "before"

    note.memory[10:12] = b"XX"  # what a reader may see between two stores

    assert note.read() == "before"

"""Of a file that grows, whole lines are read only."""

from pathlib import Path

from tests.support.growing import whole_lines


def test_a_line_that_is_written_in_part_is_not_read_yet(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert whole_lines(path) == []
    path.write_text("one\n\ntw")
    assert whole_lines(path) == ["one", ""]
    path.write_text("one\n\ntwo\n")
    assert whole_lines(path) == ["one", "", "two"]

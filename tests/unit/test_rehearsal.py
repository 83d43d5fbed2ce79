"""The master goes through a worker's first statements, and opens nothing."""

from pathlib import Path

import pytest
from sqlalchemy import make_url

from launcher.errors import DatabaseUnusable
from launcher.registry import store
from launcher.registry.rehearsal import rehearse


def test_nothing_is_opened(tmp_path: Path) -> None:
    rehearse(make_url(f"sqlite:///{tmp_path}/launcher.sqlite"), "shown")

    assert list(tmp_path.iterdir()) == []


def test_a_url_that_no_engine_can_be_made_for_is_told() -> None:
    with pytest.raises(DatabaseUnusable, match="workers share nothing in memory"):
        rehearse(make_url("sqlite://"), "sqlite://")


def test_the_statements_are_those_of_a_start() -> None:
    texts = [str(statement) for statement in store.first_statements()]

    assert [text.split()[0] for text in texts] == ["SELECT", "UPDATE", "UPDATE"]
    assert "services" in texts[0]
    assert "report_count" in texts[1]
    assert "compute_nodes" in texts[2]

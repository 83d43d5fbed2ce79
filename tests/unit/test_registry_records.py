"""Pure functions of records."""

from datetime import UTC, datetime, timedelta

import pytest

from launcher.registry.records import ServiceRecord, ServiceState, checked_reason, is_up

NOW = datetime(2026, 1, 1, tzinfo=UTC)
UP, DRAINING, DOWN = ServiceState.UP, ServiceState.DRAINING, ServiceState.DOWN


def record(state: ServiceState, age_seconds: float | None) -> ServiceRecord:
    seen = None if age_seconds is None else NOW - timedelta(seconds=age_seconds)
    return ServiceRecord(
        id=1,
        host="h",
        binary="b",
        topic="t",
        version="1",
        report_count=0,
        last_seen_up=seen,
        state=state,
        workers=1,
        workers_serving=1,
        disabled=False,
        disabled_reason=None,
        created_at=NOW,
        updated_at=None,
    )


@pytest.mark.parametrize(
    ("state", "age_seconds", "up"),
    [
        (UP, 0, True),
        (UP, 60, True),
        (UP, 60.000001, False),
        (UP, None, False),
        (UP, -30, True),
        (UP, -61, False),
        (DRAINING, 10, True),
        (DRAINING, 61, False),
        (DOWN, 0, False),
    ],
)
def test_a_service_is_up_when_it_said_so_lately(
    state: ServiceState, age_seconds: float | None, up: bool
) -> None:
    assert is_up(record(state, age_seconds), NOW, 60) is up


@pytest.mark.parametrize(
    ("given", "kept"), [(None, None), ("", None), ("  ", None), (" Lüfter laut ", "Lüfter laut")]
)
def test_a_reason_loses_its_blanks(given: str | None, kept: str | None) -> None:
    assert checked_reason(given) == kept

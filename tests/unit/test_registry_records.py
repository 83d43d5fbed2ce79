"""Pure functions of records."""

from datetime import UTC, datetime, timedelta

import pytest

from launcher.registry.records import (
    ServiceRecord,
    ServiceState,
    checked_reason,
    is_reporting,
    is_up,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
UP, DRAINING, DOWN = ServiceState.UP, ServiceState.DRAINING, ServiceState.DOWN
DEGRADED, PAUSED = ServiceState.DEGRADED, ServiceState.PAUSED


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
        as_of=NOW,
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
        (DEGRADED, 10, True),
        (PAUSED, 10, True),
        (DOWN, 0, False),
    ],
)
def test_a_service_is_up_when_it_said_so_lately(
    state: ServiceState, age_seconds: float | None, up: bool
) -> None:
    assert is_up(record(state, age_seconds), 60) is up


def test_a_service_that_an_operator_forced_down_is_not_up_though_it_reports() -> None:
    forced = record(UP, 0)._replace(forced_down=True)

    assert not is_up(forced, 60)
    assert is_reporting(forced, 60)


def test_a_state_of_a_later_release_counts_as_up() -> None:
    assert ServiceState("hibernating") is UP


@pytest.mark.parametrize(
    ("given", "kept"), [(None, None), ("", None), ("  ", None), (" Lüfter laut ", "Lüfter laut")]
)
def test_a_reason_loses_its_blanks(given: str | None, kept: str | None) -> None:
    assert checked_reason(given) == kept

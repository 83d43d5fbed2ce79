"""Why a call got no answer, by what the master says; the bus is in the functional tests."""

import time
from typing import Any

import pytest

from launcher.cli import no_answer
from launcher.cli.no_answer import judge


def found(headline: str, *states: str) -> dict[str, Any]:
    workers = [{"slot": slot, "state": state} for slot, state in enumerate(states)]
    return {"headline": headline, "workers": workers}


WELL = found("2/2 workers serving", "serving", "serving")
HALF = found("degraded: 1/2 workers serving", "serving", "starting")
DRAIN = found("draining: 1 call in 1 worker", "stopping", "empty")


@pytest.mark.parametrize(
    ("answer", "worker", "hint"),
    [
        (
            WELL,
            None,
            "the service runs (2/2 workers serving); this call may need a longer --timeout",
        ),
        (WELL, 1, "the service runs (2/2 workers serving); this call may need a longer --timeout"),
        (WELL, 2, "there is no worker 2: the service has 2, from 0 on"),
        (HALF, 1, "worker 1 is starting (degraded: 1/2 workers serving)"),
        (DRAIN, None, "the service stops (draining: 1 call in 1 worker)"),
        (DRAIN, 0, "worker 0 is stopping (draining: 1 call in 1 worker)"),
        (
            found("starting: 0/1 serving", "starting"),
            None,
            "no worker serves (starting: 0/1 serving)",
        ),
    ],
)
def test_who_gets_no_answer_is_told_why(
    answer: dict[str, Any], worker: int | None, hint: str
) -> None:
    assert judge(answer, worker) == hint


def test_a_ping_that_fails_at_once_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(no_answer, "PING_SECONDS", 20.0)

    def fail() -> None:
        raise OSError("nobody")

    begun = time.monotonic()
    assert not no_answer._answers(fail)
    assert no_answer._answers(lambda: None)
    assert time.monotonic() - begun < 15

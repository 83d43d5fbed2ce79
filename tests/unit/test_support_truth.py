"""The judge of the chaos test: were it blind, nothing would ever be a lie."""

from typing import Any

import pytest

from tests.support.truth import (
    Interval,
    Limits,
    Sight,
    first_lies,
    lies,
    rules,
)

SLOTS = range(2)
LIMITS = Limits(found=5, replaced=3, well=8, told=2)
WELL = "2/2 workers serving"
MISSING = "degraded: 1/2 workers serving; worker 1: fork"
AWAY = "degraded: 2/2 workers serving; the bus does not answer"
SERVE = {0: "serving", 1: "serving"}
ALL = {0: True, 1: True}
ONE = {0: True, 1: False}
NONE = {0: False, 1: False}


def sight(at: float = 0, **facts: Any) -> Sight:
    """Where all is well, but for these."""
    whole: dict[str, Any] = {
        "health": "pass",
        "headline": WELL,
        "states": SERVE,
        "told": WELL,
        "main": True,
    }
    return Sight(at=at, **({**whole, "own": ALL} | facts))


def for_seconds(seconds: int, begin: int = 0, **facts: Any) -> list[Sight]:
    return [sight(begin + second, **facts) for second in range(seconds + 1)]


def told(sights: list[Sight], **times: Any) -> set[str]:
    return {lie.what for lie in lies(sights, rules(SLOTS, LIMITS), **times)}


@pytest.mark.parametrize(
    ("facts", "limit", "what"),
    [
        (
            {"main": False, "headline": MISSING, "told": MISSING},
            5,
            "health passes, but no call is answered",
        ),
        (
            {"main": False, "health": "warn", "told": MISSING, "own": NONE, "states": {}},
            5,
            "the headline says that all serve, but no call is answered",
        ),
        (
            {"own": ONE, "health": "warn", "told": "", "headline": "degraded: 1/2"},
            5,
            "status says that worker 1 serves, but it does not answer",
        ),
        (
            {"own": ONE, "health": "warn", "states": {0: "serving", 1: "late"}},
            5,
            "STATUS says that all serve, but worker 1 does not answer",
        ),
        ({"health": "fail"}, 3, "health fails, but calls are answered"),
        ({"health": ""}, 3, "health does not answer, but calls are answered"),
        ({"headline": "", "states": {}}, 3, "status does not answer, but calls are answered"),
        ({"health": "warn"}, 8, "health warns, but all answer"),
        (
            {"headline": "draining: 0 calls", "told": "draining: 0 calls"},
            8,
            "the headline is not well, but all answer",
        ),
        ({"headline": AWAY, "told": AWAY}, 8, "STATUS is not well, but all answer"),
        ({"told": MISSING}, 2, "STATUS and the headline disagree"),
    ],
)
def test_a_contradiction_is_a_lie_when_it_lasts_too_long(
    facts: dict[str, Any], limit: int, what: str
) -> None:
    before = for_seconds(3, -4)
    assert what not in told([*before, *for_seconds(limit - 1, **facts), sight(limit)])
    assert what in told([*before, *for_seconds(limit, **facts), sight(limit + 1)])
    assert what in told([*before, *for_seconds(limit + 1, **facts)]), "at the end"


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"health": "warn", "headline": AWAY, "told": AWAY, "main": False, "own": NONE},
        {"health": "fail", "headline": MISSING, "told": MISSING, "main": False, "own": NONE,
         "states": {0: "starting", 1: "late"}},
        {"health": "", "headline": "", "told": MISSING, "main": False, "own": NONE, "states": {}},
        {"health": "warn", "headline": MISSING, "told": MISSING, "own": ONE,
         "states": {0: "serving", 1: "empty"}},
        {"health": "warn", "headline": f"{WELL}; reload failed: no", "told": f"{WELL}; reload"},
        {"headline": "2/2 workers serving, saturated: 8 calls in hand"},
        {"headline": f"{WELL}; reloading: 1/2 workers replaced"},
    ],
    ids=["well", "bus away", "nobody serves", "not there", "one missing", "reload failed",
         "saturated", "reloading"],
)  # fmt: skip
def test_what_is_true_is_no_lie_however_long_it_lasts(facts: dict[str, Any]) -> None:
    assert told(for_seconds(100, **facts)) == set()


def test_a_worker_that_is_doubted_by_name_is_not_claimed_to_serve() -> None:
    doubt = "degraded: 2/2 workers serving; worker 1: no answer through the bus"
    facts: dict[str, Any] = {"health": "warn", "headline": doubt, "told": doubt, "own": ONE}
    assert told(for_seconds(100, **facts)) == set()
    other = {**facts, "own": {0: False, 1: True}}
    assert told(for_seconds(100, **other)) == {
        "status says that worker 0 serves, but it does not answer"
    }


def test_a_moment_of_truth_begins_it_anew() -> None:
    vain = {"main": False}
    sights = [*for_seconds(4, **vain), sight(5), *for_seconds(4, 6, **vain), sight(11)]
    assert told(sights) == set()


@pytest.mark.parametrize(
    "times",
    [
        {"stopped": [Interval(1.0, 8.0)]},
        {"deaf": [Interval(1.0, 8.0)]},
        {"stopped": [Interval(1.0, 6.0)], "deaf": [Interval(2.0, 8.0)]},
    ],
    ids=["stopped", "deaf", "both"],
)
def test_time_in_which_nothing_could_be_said_or_heard_does_not_count(
    times: dict[str, list[Interval]],
) -> None:
    assert told(for_seconds(12, main=False), **times) == set()
    assert told(for_seconds(13, main=False), **times) != set()


def test_a_call_that_was_answered_was_heard() -> None:
    """However the connections are."""
    assert told(for_seconds(12, health="fail"), deaf=[Interval(0, 20)]) == {
        "health fails, but calls are answered"
    }


def test_a_witness_who_was_away_has_not_seen_what_was_meanwhile() -> None:
    assert told([sight(0, main=False), sight(60, main=False), sight(61)]) == set()


def test_a_trouble_begins_anew_what_may_be_told_of_it() -> None:
    sights = for_seconds(14, health="warn", main=True)
    assert told(sights, struck=[6.5]) == set()
    assert told(sights, struck=[1.5]) == {"health warns, but all answer"}
    sights = for_seconds(14, health="fail")
    assert told(sights, struck=[6.5]) == {"health fails, but calls are answered"}


def test_a_lie_says_when_and_what() -> None:
    (lie,) = lies(for_seconds(9, 100, health="fail"), rules(SLOTS, LIMITS))
    assert (lie.began, lie.lasted) == (100, 9)
    assert str(lie).startswith("health fails, but calls are answered, for 9.0 s: Sight(at=100,")


def test_ready_is_a_lie_before_everybody_answers() -> None:
    assert first_lies(sight()) == []
    assert [line.split(": ")[0] for line in first_lies(sight(main=False, own=ONE))] == [
        "READY=1 was told, but worker 1 does not answer",
        "READY=1 was told, but no call is answered",
    ]

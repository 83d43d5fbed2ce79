"""Back-off and budget of restarts, as tables."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.config.options import SUPERVISION_OPTS
from launcher.errors import ExitStatus
from launcher.supervise.policy import Budget
from launcher.supervise.processes.restarts import (
    Death,
    Decision,
    RecentDeaths,
    all_fail_alike,
    decide,
    describe_death,
)

BUDGET = Budget(limit=5, window=120, stable_after=30, first_pause=0.5, longest_pause=8)
KILLED = -9
MOST = 1500  # deaths; a float cannot hold 2.0**1024


def dead(
    count: int, *, status: int = KILLED, served_for: float = 0, apart: float = 1
) -> list[Death]:
    """`count` deaths in a row, `apart` seconds from each other."""
    return [Death(100 + apart * number, status, served_for) for number in range(count)]


def judge(
    deaths: list[Death],
    budget: Budget = BUDGET,
    *,
    was_ready: bool = True,
    jitter: float = 1,
    **facts: Any,
) -> Decision:
    return decide(deaths, budget, was_ready=was_ready, jitter=jitter, **facts)


def test_the_first_restart_comes_at_once() -> None:
    assert judge(dead(1)) == Decision(pause=0)


@pytest.mark.parametrize(("count", "pause"), [(2, 0.5), (3, 1), (4, 2), (5, 4)])
def test_each_further_one_waits_twice_as_long(count: int, pause: float) -> None:
    assert judge(dead(count), jitter=1) == Decision(pause=pause)
    assert judge(dead(count), jitter=0) == Decision(pause=pause / 2)


@pytest.fixture(scope="module")
def many() -> list[Death]:
    return dead(MOST)


@settings(max_examples=50, deadline=None, database=None)
@given(count=st.integers(2, MOST), jitter=st.floats(0, 1))
def test_no_pause_is_longer_than_the_cap(many: list[Death], count: int, jitter: float) -> None:
    patient = Budget(limit=10_000, window=1e9, stable_after=30, longest_pause=8)

    assert 0 <= judge(many[:count], patient, jitter=jitter).pause <= 8


def test_who_goes_on_after_a_spent_budget_pauses_as_well() -> None:
    """systemd was asked to act, and may take a while."""
    assert judge(dead(6)).pause == 8
    assert judge(dead(50)).pause == 8


@pytest.mark.parametrize("was_ready", [False, True])
def test_a_spent_budget_ends_the_service(was_ready: bool) -> None:
    assert judge(dead(5), was_ready=was_ready).exit_status is None
    assert judge(dead(6), was_ready=was_ready).exit_status is ExitStatus.WORKERS_DYING


@pytest.mark.parametrize(
    ("rests", "pause"), [(0, 8), (1, 16), (2, 32), (3, 64), (4, 80), (5, 80), (5000, 80)]
)
def test_a_slot_rests_for_longer_each_time_while_others_go_on(rests: int, pause: float) -> None:
    deaths = dead(6)

    found = judge(deaths, others_go_on=True, rests=rests)

    assert found == Decision(pause=pause, rests=rests + 1)
    assert judge(deaths, others_go_on=True, rests=rests, jitter=0).pause == pause / 2


def test_a_rest_is_none_without_a_pause() -> None:
    hasty = BUDGET._replace(longest_pause=0)

    assert judge(dead(6), hasty, others_go_on=True) == Decision(pause=0.5, rests=1)


def test_one_that_has_rested_rests_again_though_its_deaths_are_out_of_the_window() -> None:
    assert judge(dead(2, apart=500), others_go_on=True, rests=3) == Decision(pause=64, rests=4)
    assert judge(dead(2, apart=500), others_go_on=True) == Decision(pause=0)


def test_one_that_served_stably_after_a_rest_has_its_limit_again() -> None:
    deaths = [*dead(6), Death(200, KILLED, 30)]

    assert judge(deaths, others_go_on=True, rests=3) == Decision(pause=0)


def test_a_bus_that_is_away_is_no_reason_to_rest() -> None:
    deaths = dead(1, status=ExitStatus.UNAVAILABLE)

    assert judge(deaths, others_go_on=True, rests=3) == Decision(pause=0)


@pytest.mark.parametrize(
    ("facts", "budget"),
    [
        ({"others_go_on": False, "rests": 3}, BUDGET),
        ({"others_go_on": True, "was_ready": False}, BUDGET),
        ({"others_go_on": True}, BUDGET._replace(serve_degraded=False)),
    ],
)
def test_nobody_rests_where_nobody_goes_on_or_is_to(facts: Any, budget: Budget) -> None:
    found = judge(dead(6), budget, **facts)

    assert (found.exit_status, found.rests) == (ExitStatus.WORKERS_DYING, 0)


def said(*reasons: str) -> list[Death]:
    return [Death(100, 1, 0, reason) for reason in reasons]


@pytest.mark.parametrize(
    ("deaths", "alike"),
    [
        ([said("a"), said("a")], True),
        ([said("a"), []], False),
        ([said("a"), said("b")], False),
        ([said("a"), said("")], False),
        ([said(""), said("")], False),
        ([said("a")], False),
        ([said("a", "a")], True),
        ([said("b", "a"), said("a")], True),
        ([], False),
    ],
)
def test_a_start_in_which_all_fail_with_the_same_words_makes_no_sense(
    deaths: list[list[Death]], alike: bool
) -> None:
    assert all_fail_alike(deaths) is alike


def test_such_a_start_ends_at_once_but_not_what_was_ready() -> None:
    deaths = said("a")

    found = judge(deaths, was_ready=False, all_alike=True)
    assert found.exit_status is ExitStatus.WORKERS_DYING
    assert judge(deaths, was_ready=True, all_alike=True) == Decision()


def test_the_toll_of_a_slot_is_told_in_one_sentence() -> None:
    toll = RecentDeaths(1, 3, 5, 120, 7.4, "killed by SIGKILL")

    told = "worker 1: 3 of 5 deaths allowed within 120 s, the last 7 s ago: killed by SIGKILL"
    assert str(toll) == told


def test_no_restart_at_all_when_the_limit_is_nought() -> None:
    none = Budget(limit=0, window=120, stable_after=30)

    assert judge(dead(1), none).exit_status is ExitStatus.WORKERS_DYING


@pytest.mark.parametrize(("apart", "pause"), [(120, 0.5), (120.001, 0), (60, 1)])
def test_deaths_older_than_the_window_do_not_count(apart: float, pause: float) -> None:
    assert judge(dead(4, apart=apart)).pause == pause


@pytest.mark.parametrize(("served_for", "pause"), [(29.9, 1), (30, 0), (3600, 0)])
def test_one_that_had_served_stably_is_replaced_at_once(served_for: float, pause: float) -> None:
    deaths = [*dead(2), Death(110, KILLED, served_for)]

    assert judge(deaths) == Decision(pause=pause)


def test_pauses_are_from_half_a_second_to_what_the_option_has_by_default() -> None:
    options = {option.dest: option.default for option in SUPERVISION_OPTS}
    budget = Budget(limit=20, window=120, stable_after=30)

    assert judge(dead(2), budget).pause == 0.5
    assert judge(dead(20), budget).pause == options["backoff_max"]


def test_a_stable_time_in_between_resets_the_count() -> None:
    deaths = [*dead(5), Death(106, KILLED, 30), Death(107, KILLED, 0)]

    assert judge(deaths) == Decision(pause=0)


@pytest.mark.parametrize(("served_for", "pause"), [(0.9, 1), (1, 0)])
def test_a_second_is_stable_where_it_is_to_be(served_for: float, pause: float) -> None:
    deaths = [*dead(2), Death(110, KILLED, served_for)]

    assert judge(deaths, BUDGET._replace(stable_after=1)) == Decision(pause=pause)


def test_with_stable_after_nought_any_service_resets_but_none_does_not() -> None:
    budget = Budget(limit=5, window=120, stable_after=0)

    assert judge(dead(9, served_for=0.001), budget) == Decision(pause=0)
    assert judge(dead(6, served_for=0), budget).exit_status is ExitStatus.WORKERS_DYING


@pytest.mark.parametrize("status", [ExitStatus.CONFIG, ExitStatus.UNAVAILABLE])
def test_what_no_restart_mends_ends_a_start_with_its_own_status(status: ExitStatus) -> None:
    assert judge(dead(1, status=status), was_ready=False) == Decision(exit_status=status)


def test_it_is_the_last_end_that_ends_a_start() -> None:
    killed, misled = dead(1)[0], dead(1, status=ExitStatus.CONFIG)[0]

    assert judge([killed, misled], was_ready=False).exit_status is ExitStatus.CONFIG
    assert judge([misled, killed], was_ready=False).exit_status is None


def test_a_bus_that_is_away_later_never_spends_the_budget() -> None:
    assert judge(dead(50, status=ExitStatus.UNAVAILABLE)).exit_status is None


@pytest.mark.parametrize(("apart", "pause"), [(1, 8), (9, 0), (100, 0)])
def test_one_that_finds_no_bus_at_once_waits_but_not_one_that_has_waited_for_it(
    apart: float, pause: float
) -> None:
    assert judge(dead(50, status=ExitStatus.UNAVAILABLE, apart=apart)).pause == pause


@pytest.mark.parametrize(("apart", "pause"), [(8, 0.5), (8.001, 0)])
def test_one_has_waited_for_the_bus_that_lasted_longer_than_the_longest_pause(
    apart: float, pause: float
) -> None:
    assert judge(dead(2, status=ExitStatus.UNAVAILABLE, apart=apart)).pause == pause


def test_a_configuration_that_breaks_later_is_tried_again_within_the_budget() -> None:
    assert judge(dead(2, status=ExitStatus.CONFIG)).exit_status is None
    assert judge(dead(6, status=ExitStatus.CONFIG)).exit_status is ExitStatus.WORKERS_DYING


@pytest.mark.parametrize(
    ("death", "cause"),
    [
        (Death(0, -9, 0), "killed by SIGKILL"),
        (Death(0, -9, 0, oom_kill_seen=True), "killed by the kernel for want of memory, it seems"),
        (Death(0, -15, 0, oom_kill_seen=True), "killed by SIGTERM"),
        (Death(0, -1, 0), "killed by SIGHUP"),
        (Death(0, -40, 0), "killed by signal 40"),
        (Death(0, 0, 0), "status 0, without a word"),
        (Death(0, 2, 0), "status 2, without a word"),
        (Death(0, 78, 0, "option x: wrong"), "option x: wrong"),
        (
            Death(0, -6, 0, "", "task brittle late by 3 s"),
            "ended by the master: task brittle late by 3 s",
        ),
    ],
)
def test_a_death_is_told_in_one_sentence(death: Death, cause: str) -> None:
    assert describe_death(1, 42, death) == f"worker 1 pid 42 ended: {cause}"


@pytest.mark.parametrize(
    ("death", "kind"),
    [
        (Death(0, -6, 0, "said", "accused", oom_kill_seen=True), "hung"),
        (Death(0, 1, 0, "said"), "gave_up"),
        (Death(0, -9, 0, oom_kill_seen=True), "memory"),
        (Death(0, -15, 0, oom_kill_seen=True), "signal"),
        (Death(0, -9, 0), "signal"),
        (Death(0, -1, 0), "signal"),
        (Death(0, 0, 0), "exit"),
        (Death(0, 1, 0, oom_kill_seen=True), "exit"),
    ],
)
def test_a_death_is_counted_under_one_word(death: Death, kind: str) -> None:
    assert death.kind == kind


@pytest.mark.parametrize(
    ("status", "ending"), [(0, "status 0"), (7, "status 7"), (-9, "SIGKILL"), (-1, "SIGHUP")]
)
def test_an_ending_is_a_status_or_a_signal(status: int, ending: str) -> None:
    assert Death(0, status, 0).ending == ending

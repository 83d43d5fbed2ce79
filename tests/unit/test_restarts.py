"""Back-off and budget of restarts, as tables."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.errors import ExitStatus
from launcher.supervise.restarts import Death, Decision, Policy, decide, describe_death

POLICY = Policy(limit=5, window=120, stable_after=30, first_pause=0.5, longest_pause=8)
KILLED = -9
MOST = 5000  # deaths


def dead(
    count: int, *, status: int = KILLED, served_for: float = 0, apart: float = 1
) -> list[Death]:
    """`count` deaths in a row, `apart` seconds from each other."""
    return [Death(100 + apart * number, status, served_for) for number in range(count)]


def judge(
    deaths: list[Death], policy: Policy = POLICY, *, was_ready: bool = True, jitter: float = 1
) -> Decision:
    return decide(deaths, policy, was_ready=was_ready, jitter=jitter)


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
    patient = Policy(limit=10_000, window=1e9, stable_after=30, longest_pause=8)

    assert 0 <= judge(many[:count], patient, jitter=jitter).pause <= 8


def test_who_goes_on_after_a_spent_budget_pauses_as_well() -> None:
    """systemd has been asked to act, and may take its time."""
    assert judge(dead(6)).pause == 8
    assert judge(dead(50)).pause == 8


@pytest.mark.parametrize("was_ready", [False, True])
def test_a_spent_budget_ends_the_service(was_ready: bool) -> None:
    assert judge(dead(5), was_ready=was_ready).exit_status is None
    assert judge(dead(6), was_ready=was_ready).exit_status is ExitStatus.WORKERS_DYING


def test_no_restart_at_all_when_the_limit_is_nought() -> None:
    none = Policy(limit=0, window=120, stable_after=30)

    assert judge(dead(1), none).exit_status is ExitStatus.WORKERS_DYING


@pytest.mark.parametrize(("apart", "pause"), [(120, 0.5), (120.001, 0), (60, 1)])
def test_deaths_older_than_the_window_do_not_count(apart: float, pause: float) -> None:
    assert judge(dead(4, apart=apart)).pause == pause


@pytest.mark.parametrize(("served_for", "pause"), [(29.9, 1), (30, 0), (3600, 0)])
def test_one_that_had_served_stably_is_replaced_at_once(served_for: float, pause: float) -> None:
    deaths = [*dead(2), Death(110, KILLED, served_for)]

    assert judge(deaths) == Decision(pause=pause)


def test_a_stable_time_in_between_resets_the_count() -> None:
    deaths = [*dead(5), Death(106, KILLED, 30), Death(107, KILLED, 0)]

    assert judge(deaths) == Decision(pause=0)


def test_with_stable_after_nought_any_service_resets_but_none_does_not() -> None:
    policy = Policy(limit=5, window=120, stable_after=0)

    assert judge(dead(9, served_for=0.001), policy) == Decision(pause=0)
    assert judge(dead(6, served_for=0), policy).exit_status is ExitStatus.WORKERS_DYING


@pytest.mark.parametrize("status", [ExitStatus.CONFIG, ExitStatus.UNAVAILABLE])
def test_what_no_restart_mends_ends_a_start_with_its_own_status(status: ExitStatus) -> None:
    assert judge(dead(1, status=status), was_ready=False) == Decision(exit_status=status)


def test_a_bus_that_is_away_later_never_spends_the_budget() -> None:
    assert judge(dead(50, status=ExitStatus.UNAVAILABLE)).exit_status is None


@pytest.mark.parametrize(("apart", "pause"), [(1, 8), (9, 0), (100, 0)])
def test_one_that_finds_no_bus_at_once_waits_but_not_one_that_has_waited_for_it(
    apart: float, pause: float
) -> None:
    assert judge(dead(50, status=ExitStatus.UNAVAILABLE, apart=apart)).pause == pause


def test_a_configuration_that_breaks_later_is_tried_again_within_the_budget() -> None:
    assert judge(dead(2, status=ExitStatus.CONFIG)).exit_status is None
    assert judge(dead(6, status=ExitStatus.CONFIG)).exit_status is ExitStatus.WORKERS_DYING


@pytest.mark.parametrize(
    ("death", "cause"),
    [
        (Death(0, -9, 0), "killed by SIGKILL"),
        (Death(0, -9, 0, starved=True), "killed by the kernel for want of memory, it seems"),
        (Death(0, -15, 0, starved=True), "killed by SIGTERM"),
        (Death(0, -40, 0), "killed by signal 40"),
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

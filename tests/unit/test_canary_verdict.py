"""Whether canaries hold: by their calls, tasks and ends, beside those of the others."""

from typing import Any

import pytest

from launcher.supervise.policy import CanaryLimits
from launcher.supervise.watch.canary_verdict import Group, judge

LIMITS = CanaryLimits()
WELL = Group(calls=200, failed=0, p95=0.04)
OTHERS = Group(calls=800, failed=8, p95=0.03, failing=frozenset({"sweep"}))


def on_limits(**changed: Any) -> CanaryLimits:
    return LIMITS._replace(**changed)


@pytest.mark.parametrize(
    ("canaries", "others", "good", "words"),
    [
        (
            WELL,
            OTHERS,
            True,
            "canaries: 200 calls, 0 failed (0.0 %), 95 % within 40 ms; the others:",
        ),
        (WELL._replace(failed=4), OTHERS, True, "4 failed (2.0 %)"),  # 1 % more, no more
        (WELL._replace(failed=5), OTHERS, False, "more calls fail, failure_rate = 0.01"),
        (WELL._replace(failed=2), OTHERS._replace(failed=0), True, ""),
        (WELL._replace(failed=3), OTHERS._replace(failed=0), False, "more calls fail"),
        (WELL._replace(p95=0.045), OTHERS, True, ""),
        (WELL._replace(p95=0.046), OTHERS, False, "calls take longer, latency_factor = 1.5"),
        (WELL._replace(p95=0.007), OTHERS._replace(p95=0.001), True, ""),  # not told apart
        (WELL._replace(p95=0.008), OTHERS._replace(p95=0.001), False, "calls take longer"),
        (WELL._replace(p95=9.0), OTHERS._replace(calls=19), True, ""),  # nothing to compare with
        (WELL._replace(p95=9.0), Group(), True, "the others: 0 calls, 0 failed (0.0 %)"),
        (WELL._replace(calls=20), OTHERS, True, ""),
        (WELL._replace(calls=19), OTHERS, False, "too few calls to judge, min_calls = 20"),
        (WELL._replace(failing=frozenset({"sweep"})), OTHERS, True, ""),
        (WELL._replace(failing=frozenset({"look"})), OTHERS, False, "in canaries only: look;"),
        (Group(failing=frozenset({"look"})), OTHERS, False, "in canaries only: look;"),
        (
            WELL._replace(failed=200, p95=9.0),
            OTHERS,
            False,
            "fail, failure_rate = 0.01; calls take",
        ),
    ],
)
def test_at_the_end(canaries: Group, others: Group, words: str, *, good: bool) -> None:
    verdict = judge(canaries, others, LIMITS, ended="", over=True)
    assert verdict is not None
    assert verdict.good is good
    assert words in verdict.text


def test_before_the_end_only_what_is_plain_counts() -> None:
    for canaries in (WELL, WELL._replace(failed=100), WELL._replace(calls=19, failed=19)):
        assert judge(canaries, OTHERS, LIMITS, ended="", over=False) is None
    verdict = judge(WELL._replace(failed=103), OTHERS, LIMITS, ended="", over=False)
    assert verdict is not None
    assert verdict.text.startswith("most of their calls fail; canaries: 200 calls, 103 failed")


@pytest.mark.parametrize("over", [False, True])
def test_a_death_is_a_verdict_against(*, over: bool) -> None:
    verdict = judge(WELL, OTHERS, LIMITS, ended="worker 2 died: killed by SIGKILL", over=over)
    assert verdict is not None
    assert not verdict.good
    assert verdict.text.startswith("worker 2 died: killed by SIGKILL; canaries: 200 calls")


def test_what_few_calls_mean_is_an_option() -> None:
    verdict = judge(Group(), OTHERS, on_limits(few_calls="go-on"), ended="", over=True)
    assert verdict is not None
    assert verdict.good
    assert "few_calls = go-on; canaries: 0 calls, 0 failed (0.0 %); the others" in verdict.text
    strict = on_limits(min_calls=0)
    verdict = judge(Group(), OTHERS, strict, ended="", over=True)
    assert verdict is not None
    assert verdict.good


def test_so_many_failing_tasks_may_be_allowed() -> None:
    canaries = WELL._replace(failing=frozenset({"a", "b"}))
    for allowed, good in ((1, False), (2, True)):
        verdict = judge(canaries, OTHERS, on_limits(failing_tasks=allowed), ended="", over=True)
        assert verdict is not None
        assert verdict.good is good

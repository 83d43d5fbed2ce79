"""The judge of lost calls: were it lenient, none would ever be lost without a cause."""

import pytest

from tests.support.lost_calls import Failure, Trouble, unexplained

KILL = Trouble("kill", 10, 12, harms=True, loses=False)
STOP = Trouble("stop", 10, 12, harms=False, loses=False)
REMOVAL = Trouble("removal", 10, 12, harms=True, loses=True)
TOLD = "RemoteError: two workers died or left with this call of work in hand"
TWO = "RemoteError: MessageDeliveryFailure 2 servers died while they executed work"
LATE = "MessagingTimeout: no answer"
CALL = Failure("once-1", LATE, 5, 15)


@pytest.mark.parametrize(
    ("failure", "troubles", "why"),
    [
        (CALL, [], "nothing was done at that time"),
        (CALL, [STOP], "nothing was done at that time"),
        (CALL, [KILL], ""),
        (CALL, [REMOVAL], ""),
        (CALL._replace(began=12.5), [KILL], "nothing was done at that time"),
        (CALL._replace(ended=9), [KILL, REMOVAL], "nothing was done at that time"),
        (CALL._replace(key="once-of-the-living"), [KILL], "its worker lives: [7]"),
        (CALL._replace(key="once-of-the-dead"), [KILL], ""),
        (CALL._replace(key="work-1"), [KILL, STOP], "an idempotent call is lost"),
        (CALL._replace(key="work-1"), [REMOVAL], ""),
        (CALL._replace(key="work-1", error=TOLD), [KILL], ""),
        (CALL._replace(key="work-1", error=TOLD), [STOP], "an idempotent call is lost"),
        (CALL._replace(key="work-of-two-dead", error=TWO), [STOP], ""),
        (CALL._replace(key="work-of-two-dead"), [KILL], "an idempotent call is lost"),
        (CALL._replace(key="work-of-one", error=TWO), [KILL], "an idempotent call is lost"),
        (CALL._replace(key="work-of-the-living", error=TWO), [KILL], "an idempotent call is lost"),
    ],
)
def test_a_call_that_fails_has_a_cause_beside_it(
    failure: Failure, troubles: list[Trouble], why: str
) -> None:
    executors = {
        "once-of-the-living": [7],
        "once-of-the-dead": [8],
        "work-of-two-dead": [8, 9],
        "work-of-one": [8, 8],
        "work-of-the-living": [8, 7],
    }
    found = unexplained([failure], troubles, executors, alive={7}, idempotent={"work"})

    assert [why in text for text in found] == ([True] if why else [])

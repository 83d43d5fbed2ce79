"""Whose calls to itself a queue answers. The calls are tested with real brokers."""

from unittest.mock import Mock

import pytest

from launcher.rabbit.own_calls import OwnCalls

SPARE = "compute-alt.host1.500"


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        ("compute_fanout_1a", "compute_fanout_2b", True),
        ("compute_fanout_1a", "compute_fanout_1a", False),
        ("compute_fanout_1a", "conductor_fanout_2b", False),
        ("compute_fanout_1a", "reply_3c", False),
        (SPARE, SPARE, False),
        (SPARE, "compute_fanout_2b", False),
        (SPARE, "compute.host1", False),
    ],
)
def test_the_answers_of_another_worker_come_by_a_queue_of_the_same_fanout(
    own: str, other: str, *, expected: bool
) -> None:
    """The queue of a spare is none of a fanout, and has no others beside it."""
    assert OwnCalls(Mock(allowed_remote_exmods=[]), own).is_of_another(other) is expected

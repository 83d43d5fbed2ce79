"""The limit of core files, in a child process, so that the limit of the tests stays."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from launcher.core_dumps import limit_core
before, wanted = eval(sys.argv[1]), eval(sys.argv[2])
resource.setrlimit(resource.RLIMIT_CORE, before)
limit_core(wanted=wanted)
print(*resource.getrlimit(resource.RLIMIT_CORE))
"""


@pytest.mark.parametrize(
    ("before", "wanted", "after"),
    [
        ((0, 5000), False, "1 5000"),
        ((5000, 5000), False, "1 5000"),
        ((0, 0), False, "0 0"),
        ((0, 1), False, "1 1"),
        ((0, 5000), True, "5000 5000"),
        ((1, 5000), True, "5000 5000"),
        ((0, 0), True, "0 0"),
    ],
)
def test_no_core_unless_wanted_and_never_above_the_hard_limit(
    before: tuple[int, int], wanted: bool, after: str
) -> None:
    words = [sys.executable, "-c", SCRIPT, repr(before), repr(wanted)]
    assert subprocess.check_output(words, text=True).strip() == after

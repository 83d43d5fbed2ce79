"""A reload of a foreign program with canaries: its own configuration is tried by some workers."""

import re

import pytest

from tests.functional.service.faults import with_options
from tests.functional.service.foreign import KINDS, SOON, Call, Run, Theirs, answerers
from tests.functional.service.test_canary import WATCH
from tests.functional.service.test_program_files import replace_a_worker
from tests.support.callers import Callers, Ledger
from tests.support.commands import Completed
from tests.support.rabbitmq import Vhost
from tests.support.waiting import wait_until

# The machine may be short of processors, and then a few calls take several times longer.
LIMITS = with_options(canary={"min_calls": 10, "latency_factor": 10})

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("kind", KINDS)
def test_canaries_hold_or_go_back(
    run: Run, call: Call, theirs: Theirs, rabbit: Vhost, kind: str
) -> None:
    service = run(kind, "--workers=3", config=LIMITS)
    service.wait_ready()
    ledger = Ledger(theirs.path.parent)

    def reload(number: int) -> Completed:
        with Callers(rabbit.url, "node-1") as callers:
            ledger.wait_for(number)
            answer = service.run_command("reload", WATCH, "--slots=2")
            tally = callers.end()
        assert not tally.failed
        assert not tally.wrong
        assert max(ledger.executions().values()) == 1
        return answer

    theirs.set(fault="slow", word="slow")
    answer = reload(50)
    assert answer.status == 1
    assert "the canary has failed: calls take longer, latency_factor = 10" in answer.stderr
    replace_a_worker(service)  # what was refused is not for a worker that starts later, either
    assert told(call) == {"old"}

    before = answerers(call, 3)
    theirs.set(fault="", word="new")
    answer = reload(len(ledger.executions()) + 50)
    figures = r"\d+ calls, 0 failed \(0\.0 %\), 95 % within \d+ ms"
    line = rf"the canary has held: canaries: {figures}; the others: {figures}\nreloaded\n"
    assert re.fullmatch(line, answer.stdout), answer
    assert not before & answerers(call, 3)
    assert told(call) == {"new"}


def told(call: Call) -> set[str]:
    """With which configuration all three workers answer."""
    found: dict[int, str] = {}

    def ask() -> bool:
        found.update([call("tell")])
        return len(found) == 3

    wait_until(ask, SOON, "all answer")
    return set(found.values())

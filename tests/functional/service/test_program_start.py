"""The start of a foreign program: the scout, the modules that are remembered, and how many workers
the program wants."""

import json
import re
import signal

import pytest

from tests.functional.service.faults import with_options, workers
from tests.functional.service.foreign import KINDS, SOON, Call, Run, Theirs, answerers
from tests.support.notify_socket import NotifySocket
from tests.support.processes import Launcher
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

PROGRAMS = "tests.functional.service.programs"


def remembered(service: Launcher) -> set[str]:
    """The modules that the master has kept."""
    found = json.loads((service.state_path / "program-modules").read_text())
    return set(found["modules"])


def stop(service: Launcher) -> None:
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    service.assert_nothing_left()


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_first_worker_imports_is_remembered(
    run: Run, call: Call, theirs: Theirs, kind: str
) -> None:
    """But for modules that read an option or start a thread when they are imported."""
    theirs.set(word="configured")
    service = run(kind, "--workers=3")
    service.wait_ready()
    assert "starting a first worker" in service.output
    first = service.wait_for_line(r"(\d+) more modules imported")
    stop(service)
    kept = remembered(service)
    assert {"wave", "xmlrpc.server", f"{PROGRAMS}.late"} <= kept
    assert not {f"{PROGRAMS}.reader", f"{PROGRAMS}.threading_module"} & kept

    service.start_again()
    service.wait_ready()
    assert "starting 3 workers" in service.output
    again = service.wait_for_line(r"(\d+) more modules imported")
    assert int(again[1]) >= int(first[1]) > 1
    assert len(answerers(call, 3)) == 3
    assert call("tell")[1] == "configured"
    assert "of-a-module" in call("threads")


def test_a_list_of_another_installation_is_not_used(run: Run) -> None:
    service = run("oslo_program", "--workers=1")
    service.wait_ready()
    stop(service)
    path = service.state_path / "program-modules"
    path.write_text(path.read_text().replace('"key": "', '"key": "0'))
    service.start_again()
    service.wait_ready()
    assert "starting a first worker" in service.output


@pytest.mark.parametrize("damage", ["", "[]", '{"key": 1}', "\0"])
def test_a_damaged_list_is_made_anew(run: Run, damage: str) -> None:
    service = run("oslo_program", "--workers=2")
    service.wait_ready()
    stop(service)
    (service.state_path / "program-modules").write_text(damage)
    service.start_again()
    service.wait_ready()
    assert f"{PROGRAMS}.late" in remembered(service)


def test_nothing_is_remembered_if_that_is_said(run: Run) -> None:
    config = with_options(supervision={"warm_up": False})
    service = run("oslo_program", "--workers=2", config=config)
    service.wait_ready()
    assert "starting 2 workers" in service.output
    assert not (service.state_path / "program-modules").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_the_program_says_how_many_workers_there_are(
    run: Run, theirs: Theirs, notify: NotifySocket, kind: str
) -> None:
    """READY waits for all of them. The number is asked for in each start."""
    theirs.set(workers=3)
    service = run(kind, notify=notify)
    service.wait_ready()
    assert [worker["state"] for worker in workers(service)] == ["serving"] * 3
    ready = next(one for one in notify.messages if "READY=1" in one.lines)
    assert "STATUS=3/3 workers serving" in ready.lines
    stop(service)
    theirs.set(workers=2)
    service.start_again()
    wait_until(lambda: re.search(r"ready: 2/2", service.output), SOON, "two serve")
    assert len(workers(service)) == 2

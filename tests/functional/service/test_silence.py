"""Commands that get no answer, or ask the wrong service, say what is the matter."""

import re
import signal

import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import status
from tests.functional.service.traces import put
from tests.support.waiting import wait_until

SLOW = ("call", "slow_echo", "value=1", "until=done")
SOON = 30.0


@pytest.mark.usefixtures("transport")
def test_a_call_without_an_answer_is_told_why(start: Start) -> None:
    """And is not asked whether the service runs, which does."""
    service = start("Traced", "--workers=2")
    service.wait_ready()

    slow = service.run_command(*SLOW, "--timeout=1")
    assert slow.status == 69
    told = r"within 1 s; the service runs \(2/2 workers serving\); this call may need a longer"
    assert re.search(told, slow.stderr)
    nobody = service.run_command("ping", "--worker=9", "--timeout=1")
    assert nobody.status == 69
    assert "there is no worker 9: the service has 2, from 0 on" in nobody.stderr

    service.signal(signal.SIGTERM)
    wait_until(lambda: status(service)["headline"].startswith("draining"), SOON, "it drains")
    late = service.run_command("ping", "--timeout=1")
    assert late.status == 69
    assert "the service stops (draining: 1 call" in late.stderr
    put(service, "done")
    assert service.wait() == 0
    gone = service.run_command("ping", "--timeout=1")
    assert "is the service running?" in gone.stderr
    for answer in (slow, nobody, late, gone):
        assert answer.stderr.count("\n") == 1


@pytest.mark.usefixtures("transport")
def test_where_the_master_cannot_be_asked_a_ping_tells(start: Start) -> None:
    """As of a service on another machine; here of another runtime directory."""
    service = start("Traced", "--workers=2", config={"DEFAULT": {"rpc_response_timeout": 30}})
    service.wait_ready()
    elsewhere = service.directory / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    bus = f"unix://{service.runtime_path}/bus"
    config = service.config_file.read_text()
    if "transport_url" not in config:
        config = config.replace("[DEFAULT]", f"[DEFAULT]\ntransport_url = {bus}")
    service.config_file.write_text(
        config.replace("[DEFAULT]", f"[DEFAULT]\nruntime_path = {elsewhere}")
    )

    slow = service.run_command(*SLOW, "--timeout=1")
    assert "the service answers a ping; this call may need a longer --timeout" in slow.stderr
    nobody = service.run_command("ping", "--worker=9", "--timeout=1")
    assert "the service answers, but not its worker 9; is there one?" in nobody.stderr


def test_a_ping_where_nobody_is_does_not_wait_for_its_timeout(start: Start) -> None:
    """Which is longer than a command of these tests may take."""
    service = start("Traced", "--workers=1")
    service.wait_ready()
    nobody = service.run_command("ping", "--worker=9", "--timeout=600")
    assert nobody.status == 69
    assert "there is no worker 9: the service has 1, from 0 on" in nobody.stderr
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    gone = service.run_command("ping", "--timeout=600")
    assert (gone.status, gone.stdout) == (69, "")
    assert re.search("nobody listens on compute on .*; is the service running", gone.stderr)


def test_a_command_for_another_host_does_not_act_on_this_one(start: Start) -> None:
    service = start("Traced", "--workers=2", "--host=node-1")
    service.wait_ready()
    before = service.workers()
    for words in (["status"], ["health"], ["scale", "1"], ["reload"], ["restart-worker", "0"]):
        answer = service.run_command(*words, "--host=node-2")
        assert (answer.status, answer.stdout) == (2, ""), words
        assert "of this machine serves host node-1, not node-2;" in answer.stderr
    assert service.workers() == before
    assert service.run_command("status", "--host=node-1").status == 0


def test_a_refused_request_is_not_logged_as_done(start: Start) -> None:
    service = start("Traced", "--workers=2")
    service.wait_ready()
    answer = service.run_command("restart-worker", "9")
    assert answer.status == 1
    assert "worker 9 is not a slot from 0 to 1" in answer.stderr
    assert "is to be replaced" not in service.output


def test_the_manager_that_is_meant_is_shown(start: Start) -> None:
    service = start("Traced", "--workers=0", config={"DEFAULT": {"manager": ""}})
    service.wait()
    service.configure({})
    assert "\nmanager = compute\n" in service.run_command("config", "show").stdout

"""A start: every worker walks the whole sequence, and READY waits for the last of them."""

import json
import re
import signal

import pytest

from launcher.board.states import Step
from tests.functional.service.conftest import Start
from tests.functional.service.traces import put, trace
from tests.support.notify_socket import NotifySocket
from tests.support.waiting import wait_until

OTHERS = (Step.FORK, Step.CONDUCTOR, Step.PROGRAM, Step.SPARE, Step.LAUNCH, Step.DONE)
STEPS = [step.label for step in Step if step not in OTHERS]


@pytest.mark.usefixtures("transport")
def test_each_of_four_workers_walks_all_steps_in_their_order(start: Start) -> None:
    service = start("Traced", "--workers=4", "--debug")
    service.wait_ready()
    lines = re.findall(r"worker=(\d) pid=(\d+) (\w+) _step", service.output)
    walked = {slot: [step for number, _, step in lines if number == slot] for slot in "0123"}
    for steps in walked.values():
        assert [step for step in steps if step in STEPS] == STEPS
    assert len({pid for _, pid, _ in lines}) == 4


def test_a_start_is_a_line_for_each_worker_with_its_time(start: Start) -> None:
    service = start("Traced", "--workers=4")
    service.wait_ready()
    told = re.findall(r" (worker=\d) pid=\d+ (.*)$", service.output, re.MULTILINE)
    lead = {"is the lead of this host", "no longer the lead"}  # the first to serve may be any
    told = [(name, words) for name, words in told if words not in lead]
    assert sorted(name for name, _ in told) == [f"worker={slot}" for slot in range(4)]
    assert [
        words for _, words in told if not re.fullmatch(r"serving after \d+\.\d\d s", words)
    ] == []


@pytest.mark.usefixtures("transport")
def test_commands_answer_while_it_serves_and_nothing_is_left_after_a_stop(start: Start) -> None:
    service = start("Traced", "--workers=4")
    service.wait_ready()
    pong = service.run_command("ping")
    assert pong.status == 0, pong.stderr
    assert re.fullmatch(r"compute on \S+: worker [0-3] pid \d+ answered in .* ms\n", pong.stdout)
    for slot in range(4):
        assert f"worker {slot} pid" in service.run_command("ping", f"--worker={slot}").stdout
    answer = service.run_command("call", "echo", 'value={"a": [1, "ä"]}')
    assert json.loads(answer.stdout) == {"a": [1, "ä"]}
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    service.assert_nothing_left()


def test_workers_collect_garbage_but_for_what_they_share(start: Start) -> None:
    """The collector is off while the master imports: nobody may inherit that."""
    service = start("Traced", "--workers=1")
    service.wait_ready()
    enabled, frozen = json.loads(service.run_command("call", "collector").stdout)
    assert enabled
    assert frozen > 10_000


@pytest.mark.usefixtures("transport")
def test_all_workers_share_one_row_of_the_registry(start: Start) -> None:
    service = start("Traced", "--workers=4")
    service.wait_ready()

    def rows() -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(
            service.run_command("services", "list", "--json").stdout
        )
        return found

    wait_until(lambda: rows()[0]["workers_serving"] == 4, 30, "four workers reported")
    (row,) = rows()
    assert (row["state"], row["status"], row["workers"]) == ("up", "enabled", 4)
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    assert rows()[0]["state"] == "down"


@pytest.mark.usefixtures("transport")
def test_ready_waits_for_the_slowest_worker(start: Start, notify: NotifySocket) -> None:
    service = start("Held", "--workers=3", notify=notify)
    wait_until(lambda: trace(service)["post_start_hook"] == 3, 30, "all are in the hook")
    wait_until(
        lambda: any(
            "2/3 serving; worker 1: post_start_hook" in s for s in notify.values("STATUS")
        ),
        30,
        "STATUS names the worker and its step",
    )
    assert not notify.says("READY=1")
    put(service, "go")
    message = notify.wait_for("READY=1", 30)
    assert message.fields["WATCHDOG"] == "1"
    assert message.fields["STATUS"] == "3/3 workers serving"
    assert message.pid == service.master()
    assert [line for line in notify.lines if line == "READY=1"] == ["READY=1"]


def test_a_failing_step_undoes_what_was_done_and_ends_with_its_reason(
    start: Start, notify: NotifySocket
) -> None:
    config = {"supervision": {"restart_limit": 1}}
    service = start("Failing", config=config, notify=notify)
    assert service.wait() == 3
    last = service.output.splitlines()[-1]
    assert "post_start_hook: RuntimeError: the hypervisor is on fire" in last
    assert last.startswith("compute-launcher: error: ")
    assert not notify.says("READY=1")
    assert "on fire" in notify.values("STATUS")[-1]
    seen = trace(service)
    assert seen["cleanup_host"] == seen["init_host"] > 0
    service.assert_nothing_left()


@pytest.mark.parametrize("graceful", [0, 2, 600])
def test_a_start_that_hangs_ends_by_itself(start: Start, graceful: int) -> None:
    """There is no call that a drain could wait for."""
    config = {"DEFAULT": {"start_timeout": 2, "graceful_shutdown_timeout": graceful}}
    service = start("Hung", "--workers=2", config=config)
    assert service.wait() == 3
    assert "init_host late" in service.output.splitlines()[-1]
    assert "in init_host" in service.output  # the stacks
    assert re.search(r"stuck: thread .+: \S+/managers\.py, line \d+ in \w+$", service.output, re.M)
    service.assert_nothing_left()


@pytest.mark.parametrize("method", ["hidden", "init_host", "__init__", "nothing"])
def test_only_exposed_methods_can_be_called(start: Start, method: str) -> None:
    service = start("Traced", "--workers=1")
    service.wait_ready()
    answer = service.run_command("call", method)
    assert answer.status == 1
    assert len(answer.stderr.splitlines()) == 1
    assert "NoSuchMethod" in answer.stderr


@pytest.mark.usefixtures("transport")
def test_remote_errors_are_one_line(start: Start) -> None:
    service = start("Traced", "--workers=1")
    service.wait_ready()
    answer = service.run_command("call", "fail", "text=no luck")
    assert answer.status == 1
    assert answer.stderr.endswith("ValueError: no luck\n")
    assert answer.stderr.count("\n") == 1


@pytest.mark.usefixtures("transport")
def test_a_method_that_would_exit_is_answered_for(start: Start) -> None:
    service = start("Traced", "--workers=1")
    service.wait_ready()
    answer = service.run_command("call", "leave")
    assert (answer.status, answer.stderr.count("\n")) == (1, 1)
    assert "leave called sys.exit(3)" in answer.stderr
    assert service.run_command("ping").status == 0


def test_workers_and_their_children_inherit_nothing_of_systemds(
    start: Start, notify: NotifySocket
) -> None:
    service = start("Traced", "--workers=1", notify=notify, watchdog_seconds=60)
    service.wait_ready()
    answer = json.loads(service.run_command("call", "environment").stdout)
    assert not [name for name in answer if name.startswith(("NOTIFY_", "WATCHDOG_"))]
    assert all(message.pid == service.master() for message in notify.messages)


@pytest.mark.usefixtures("transport")
def test_a_proof_that_fails_at_once_is_neither_repeated_without_a_pause_nor_misnamed(
    start: Start,
) -> None:
    """145 302 lines in 27 s, each with a time that had not passed."""
    service = start("Unprovable", "--workers=1", config={"DEFAULT": {"start_timeout": 4}})

    assert service.wait() == 69

    said = [line for line in service.output.splitlines() if "no round trip" in line]
    assert "nobody is at home" in said[0]
    assert "within 10 s" not in service.output
    assert len([line for line in said if "trying again" in line]) == 1, "one reason, said once"
    assert service.output.count("Traceback") < 20, "each try leaves one in the server's log"
    assert "nobody is at home" in service.output.splitlines()[-1], "the cause is the last word"
    assert "tried for 4 s" in service.output.splitlines()[-1]

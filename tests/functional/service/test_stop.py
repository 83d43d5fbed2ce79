"""A stop: calls in hand are finished, whatever hangs is killed in the end."""

import os
import signal
import socket
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from launcher.supervise.control.http_server import CONNECTIONS
from tests.functional.service.conftest import Start
from tests.functional.service.faults import commands, status, with_options, workers
from tests.functional.service.traces import put, trace
from tests.support.commands import Completed
from tests.support.notify_socket import NotifySocket
from tests.support.processes import Launcher
from tests.support.terminal import CTRL_C, Terminal
from tests.support.waiting import elapse, wait_until

ORPHAN_SECONDS = 2.0
GRACEFUL_SECONDS = 2
STOP_SECONDS = 2.0  # more, in which a stop ends whatever the workers do


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("transport")
def test_a_call_in_hand_is_answered_before_the_stop_ends(
    start: Start, number: signal.Signals
) -> None:
    service = start("Traced", "--workers=2")
    service.wait_ready()
    answers: list[Completed] = []
    caller = threading.Thread(target=lambda: answers.append(slow_call(service)))
    caller.start()
    wait_until(lambda: trace(service)["slow_echo"] == 1, 30, "the call is in hand")
    service.signal(number)
    service.wait_for_line("stopping; 1 call in hand, oldest slow_echo")
    put(service, "done")
    assert service.wait() == 0
    caller.join(30)
    assert answers[0].stdout == "7\n", answers
    assert trace(service)["graceful_shutdown"] == 2


@pytest.mark.usefixtures("transport")
def test_ctrl_c_at_a_terminal_stops_gracefully(start: Start, terminal: Terminal) -> None:
    service = start("Traced", "--workers=2", terminal=terminal)
    service.wait_ready()
    told = service.wait_for_line(r"ask it: (.+) status.*; stop it: Ctrl-C, twice to stop at once")
    assert f"--config-file={service.config_file}" in told[1]
    assert service.run_shell(f"{told[1]} status").status == 0
    terminal.press(CTRL_C)
    assert service.wait() == 0
    assert trace(service)["cleanup_host"] == 2
    service.assert_nothing_left()


def test_a_second_ctrl_c_stops_at_once(start: Start, terminal: Terminal) -> None:
    service = start("Hung", "--workers=2", terminal=terminal)
    wait_until(lambda: trace(service)["init_host"] == 2, 30, "all hang")
    terminal.press(CTRL_C)
    service.wait_for_line("stopping: SIGINT received")
    terminal.press(CTRL_C)
    assert service.wait(5) == 130
    service.assert_nothing_left()


def test_a_worker_that_hangs_in_its_start_is_killed_when_the_drain_is_over(start: Start) -> None:
    config = {"DEFAULT": {"graceful_shutdown_timeout": 1}}
    service = start("Hung", "--workers=2", config=config)
    wait_until(lambda: trace(service)["init_host"] == 2, 30, "all hang")
    service.signal(signal.SIGTERM)
    assert service.wait(1 + STOP_SECONDS) == 4
    service.assert_nothing_left()


@pytest.mark.usefixtures("transport")
def test_a_stop_before_anything_serves_ends_with_0(start: Start) -> None:
    service = start("Traced", "--workers=4")
    service.wait_for_line("starting 4 workers")
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    service.assert_nothing_left()


@pytest.mark.usefixtures("transport")
def test_nothing_is_left_when_the_master_is_killed(start: Start) -> None:
    service = start("Traced", "--workers=4")
    service.wait_ready()
    os.kill(service.workers()[2], signal.SIGSTOP)
    service.signal(signal.SIGKILL)
    assert service.wait() == -signal.SIGKILL
    service.assert_nothing_left(ORPHAN_SECONDS)


def test_nothing_is_left_of_a_start_whose_master_is_killed(start: Start) -> None:
    service = start("Hung", "--workers=2")
    wait_until(lambda: trace(service)["init_host"] == 2, 30, "all hang")
    service.signal(signal.SIGKILL)
    service.wait()
    service.assert_nothing_left(ORPHAN_SECONDS)


def test_a_stop_does_not_wait_for_visitors_of_the_control_socket(start: Start) -> None:
    service = start("Traced", "--workers=1")
    service.wait_ready()
    with ExitStack() as visitors:
        for _ in range(CONNECTIONS + 4):
            visitor = visitors.enter_context(socket.socket(socket.AF_UNIX))
            visitor.connect(str(service.runtime_path / "control.sock"))
            visitor.sendall(b"GET /status HTTP")  # and no more
        service.signal(signal.SIGTERM)
        assert service.wait() == 0


def test_ctrl_z_does_not_stop_what_nobody_could_wake(start: Start, terminal: Terminal) -> None:
    service = start("Traced", "--workers=2", terminal=terminal)
    service.wait_ready()
    terminal.press("\x1a")
    assert service.run_command("ping").status == 0
    terminal.press(CTRL_C)
    assert service.wait() == 0


def test_without_a_limit_a_stop_waits_for_a_call_as_it_takes(start: Start) -> None:
    """graceful_shutdown_timeout = 0, which is "endless" in nova's words and 0 s in its deeds."""
    config = {"DEFAULT": {"graceful_shutdown_timeout": 0, "manager_shutdown_timeout": 0}}
    service = start("Traced", "--workers=2", config=config)
    service.wait_ready()
    answers: list[Completed] = []
    caller = threading.Thread(target=lambda: answers.append(slow_call(service)))
    caller.start()
    wait_until(lambda: trace(service)["slow_echo"] == 1, 30, "the call is in hand")
    service.signal(signal.SIGTERM)
    elapse(5)
    assert service.status is None
    assert status(service)["headline"].startswith("draining: 1 call, oldest slow_echo ")
    put(service, "done")
    assert service.wait() == 0
    caller.join(30)
    assert answers[0].stdout == "7\n", answers


def slow_call(service: Launcher) -> Completed:
    """A client that waits for its answer."""
    return service.run_command("call", "slow_echo", "value=7", "until=done", "--timeout=60")


def test_a_stop_at_any_moment_of_a_start_ends_with_0(start: Start) -> None:
    """From the first system calls of the interpreter's main program on."""
    for delay in (0.15, 0.3, 0.45, 0.6, 0.8, 1.0):
        service = start("Traced", "--workers=2")
        threading.Event().wait(delay)  # no condition to wait for: any moment is the point
        if not service.output and not blocks_signals(service.pid):
            continue  # the interpreter itself is not up yet
        service.signal(signal.SIGTERM)
        assert service.wait() == 0, service.output
        service.assert_nothing_left()


def blocks_signals(pid: int) -> bool:
    """Whether a process is far enough to hold a SIGTERM back (proc(5), SigBlk)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(line.split()[1] for line in lines if line.startswith("SigBlk:"))
    return bool(int(mask, 16) & 1 << (signal.SIGTERM - 1))


def test_a_worker_killed_in_the_stop_is_told_and_the_row_is_down(start: Start) -> None:
    """By the other one, which leaves after its death."""
    service = start("Traced", "--workers=2")
    service.wait_ready()
    victim = service.workers()[0]
    words = ("call", "slow_echo", "value=1", "until=done", "--worker=1", "--timeout=60")
    call = threading.Thread(target=service.run_command, args=words, daemon=True)
    call.start()
    wait_until(lambda: trace(service)["slow_echo"] == 1, 30, "a call is in hand")
    os.kill(victim, signal.SIGSTOP)
    service.signal(signal.SIGTERM)
    service.wait_for_line("stopping; 1 call in hand")
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in service.workers(), 30, "it is dead")
    put(service, "done")
    assert service.wait() == 4
    call.join(30)
    assert f"pid {victim} died in the stop" in service.output
    assert " down " in service.run_command("services", "list").stdout


def test_a_runtime_directory_that_is_removed_ends_the_service(start: Start) -> None:
    service = start("Traced", "--workers=2")
    service.wait_ready()
    service.runtime_path.rename(service.directory / "moved")
    assert service.wait() == 1
    assert "was removed or replaced" in service.output.splitlines()[-1]
    service.assert_nothing_left()


def test_a_reload_that_hangs_holds_up_no_stop(start: Start) -> None:
    service = start("Traced", "--workers=2")
    service.wait_ready()
    service.config_file.unlink()
    os.mkfifo(service.config_file)  # whoever reads it waits for a writer
    service.signal(signal.SIGHUP)
    service.wait_for_line("reloading the configuration")
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    service.assert_nothing_left()


def test_a_first_signal_does_not_cut_short_a_stop_that_began_by_itself(start: Start) -> None:
    config = with_options(supervision={"restart_limit": 0, "serve_degraded": False})
    service = start("Faulty", "--workers=2", config=config)
    service.wait_ready()
    caller = threading.Thread(target=slow_call, args=(service,))
    caller.start()
    wait_until(lambda: trace(service)["slow_echo"] == 1, 30, "the call is in hand")
    busy = next(one for one in workers(service) if one["calls"]["in_hand"])
    idle = next(one for one in workers(service) if not one["calls"]["in_hand"])
    assert busy["pid"] != idle["pid"]

    os.kill(idle["pid"], signal.SIGKILL)
    service.wait_for_line("stopping: .* gave up: ")
    service.signal(signal.SIGTERM)
    service.wait_for_line("SIGTERM received; the service is stopping already")
    put(service, "done")

    assert service.wait() == 3
    caller.join(30)
    assert "not stopped yet: killed" not in service.output


def test_the_last_status_says_that_it_has_stopped(start: Start, notify: NotifySocket) -> None:
    service = start("Traced", "--workers=2", notify=notify)
    service.wait_ready()
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    assert notify.values("STATUS")[-1] == "stopped"


def test_a_worker_that_was_killed_in_the_stop_is_in_the_last_status(
    start: Start, notify: NotifySocket
) -> None:
    config = {"DEFAULT": {"graceful_shutdown_timeout": 1}}
    service = start("Faulty", "--workers=2", config=config, notify=notify)
    service.wait_ready()
    os.kill(service.workers()[0], signal.SIGSTOP)
    service.signal(signal.SIGTERM)
    assert service.wait() == 4
    assert notify.values("STATUS")[-1] == "stopped; a worker had to be killed, or died"


def test_a_bus_that_is_removed_ends_the_service(start: Start) -> None:
    """No call can reach it any more, and nothing but a start mends that."""
    service = start("Traced", "--workers=2")
    service.wait_ready()
    (service.runtime_path / "bus").rename(service.runtime_path / "elsewhere")
    assert service.wait() == 1
    assert "the bus directory" in service.output.splitlines()[-1]
    service.assert_nothing_left()


def test_a_runtime_directory_that_becomes_a_file_ends_the_service_in_a_sentence(
    start: Start,
) -> None:
    service = start("Traced", "--workers=2")
    service.wait_ready()
    service.runtime_path.rename(service.directory / "elsewhere")
    service.runtime_path.touch()
    assert service.wait() == 1
    assert "was removed or replaced" in service.output.splitlines()[-1]


def stop_all(service: Launcher, pid: int) -> None:
    for worker in service.workers():
        os.kill(worker, signal.SIGSTOP)


def die_again_and_again(service: Launcher, pid: int) -> None:
    """Until its next start is some seconds away."""
    for _ in range(4):
        old = workers(service)[1]["pid"]
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: workers(service)[1]["pid"] not in {old, None}, 10, "there is another")  # noqa: B023
    service.wait_for_line(r"worker 1 starts again in [12]\.\d s")


# What workers do when they are told to stop, and with which status that ends at last.
STUBBORN = {
    "stopped": (stop_all, 4),
    "without the GIL": (commands("hold_the_gil"), 4),
    "deadlocked": (commands("lose_the_loop"), 4),
    "deaf to SIGTERM": (commands("spare_no_signal"), 4),
    "in a back-off": (die_again_and_again, 0),
}


def be_stubborn(start: Start, how: str, graceful: float) -> Launcher:
    config = with_options(
        DEFAULT={"graceful_shutdown_timeout": graceful},
        health={"beat_timeout": 600, "probe_interval": 600},
        supervision={"backoff_max": 30},
    )
    service = start("Faulty", "--workers=2", config=config)
    service.wait_ready()
    STUBBORN[how][0](service, workers(service)[1]["pid"])
    return service


@pytest.mark.parametrize("how", STUBBORN)
def test_a_stop_ends_in_time_whatever_the_workers_do(start: Start, how: str) -> None:
    service = be_stubborn(start, how, GRACEFUL_SECONDS)
    service.signal(signal.SIGTERM)
    assert service.wait(GRACEFUL_SECONDS + STOP_SECONDS) == STUBBORN[how][1]
    service.assert_nothing_left(ORPHAN_SECONDS)


@pytest.mark.parametrize("how", STUBBORN)
def test_a_second_signal_ends_it_at_once(start: Start, how: str) -> None:
    service = be_stubborn(start, how, graceful=600)
    service.signal(signal.SIGTERM)
    service.wait_for_line("stopping: SIGTERM received")
    service.signal(signal.SIGTERM)
    status = service.wait(STOP_SECONDS)
    assert status in {4, STUBBORN[how][1]}  # those who would have stopped are killed as well
    service.assert_nothing_left(ORPHAN_SECONDS)

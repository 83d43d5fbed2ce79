"""Foreign programs that cannot be run: one sentence, the right status, and no process is left."""

import signal

import pytest

from tests.functional.service.faults import FAST, with_options, workers
from tests.functional.service.foreign import (
    KINDS,
    PROGRAMS,
    SOON,
    Call,
    Run,
    Theirs,
    answerers,
)
from tests.support.waiting import wait_until

SHORT = {**FAST, "DEFAULT": {"start_timeout": 2}}

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("fault", "end"),
    [
        ("exit", (3, "ended with status 3 before it started a service")),
        ("exit well", (78, "ended with status 0 before it started a service")),
        ("return", (78, "returned before it started a service; is it a command?")),
        ("raise", (3, "program: RuntimeError: the table is not there")),
        ("fork", (78, "it forks before it starts its services")),
        ("daemonize", (78, "it forks before it starts its services")),
        ("multiprocessing", (78, "it forks before it starts its services")),
        ("raise in start", (3, "RuntimeError: the table is locked")),
        ("exit in start", (3, "SystemExit: 4")),
    ],
)
def test_a_program_that_does_not_start(
    run: Run, theirs: Theirs, kind: str, fault: str, end: tuple[int, str]
) -> None:
    exit_status, words = end
    theirs.set(fault=fault)
    service = run(kind, "--workers=2")
    assert service.wait() == exit_status
    assert words in service.output.splitlines()[-1]
    service.assert_nothing_left()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--no-such-option",), "status 2 before it started a service; its last words: "),
        (("--config-file=/no/such/file",), "Failed to find some config files: /no/such/file"),
    ],
)
def test_a_command_line_that_the_program_refuses(
    run: Run, arguments: tuple[str, ...], words: str
) -> None:
    service = run("oslo_program", "--workers=2", arguments=arguments)
    assert service.wait() == 78
    assert words in service.output.splitlines()[-1]
    service.assert_nothing_left()


def test_a_value_that_the_program_refuses(run: Run, theirs: Theirs) -> None:
    theirs.set(workers="many")
    service = run("oslo_program", "--workers=2")
    assert service.wait() == 78
    assert "workers" in service.output.splitlines()[-1]
    service.assert_nothing_left()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["children", "subprocess"])
def test_children_of_a_program_do_not_outlive_it(
    run: Run, call: Call, theirs: Theirs, kind: str, fault: str
) -> None:
    """They have nothing of the launcher's: the board has the worker's words alone."""
    theirs.set(fault=fault)
    service = run(kind, "--workers=2")
    service.wait_ready()
    pids = answerers(call, 2)
    assert {worker["pid"] for worker in workers(service)} == pids
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    service.assert_nothing_left()


def test_a_child_that_a_call_forks_ends_where_it_comes_back(run: Run, call: Call) -> None:
    service = run("oslo_program", "--workers=1")
    service.wait_ready()
    (pid,) = answerers(call, 1)
    child = call("fork")
    assert child
    wait_until(lambda: child not in {one.pid for one in service.left_over()}, SOON, "it has ended")
    assert answerers(call, 1) == {pid}


def test_a_program_that_hangs_is_late(run: Run, theirs: Theirs) -> None:
    theirs.set(fault="hang")
    service = run("oslo_program", "--workers=1", config=SHORT)
    service.wait_for_line("program late by")
    assert service.wait() == 3
    assert "in configure" in service.output
    service.assert_nothing_left()


def test_a_program_that_needs_eventlet_in_its_main_function(run: Run, theirs: Theirs) -> None:
    theirs.set(fault="eventlet")
    service = run("oslo_program", "--workers=2")
    assert service.wait() == 78
    assert "it needs eventlet (" in service.output.splitlines()[-1]


@pytest.mark.parametrize("warm_up", [True, False])
def test_a_stop_ends_a_program_that_hangs_at_once(run: Run, theirs: Theirs, warm_up: bool) -> None:
    theirs.set(fault="hang")
    config = with_options(supervision={"warm_up": warm_up})
    service = run("oslo_program", "--workers=2", config=config)
    wait_until(
        lambda: (
            service.runtime_path.joinpath("control.sock").exists()
            and {worker["step"] for worker in workers(service)} == {"program"}
        ),
        SOON,
        "the first one is in main()",
    )
    service.signal(signal.SIGTERM)
    assert service.wait(10) == 0
    service.assert_nothing_left()


def test_a_service_without_an_rpc_server(run: Run, theirs: Theirs) -> None:
    theirs.set(serves=False)
    service = run("oslo_program", "--workers=1", config=SHORT)
    assert service.wait() == 78
    words = "no RPC server within 2 s; --proof started accepts that"
    assert words in service.output.splitlines()[-1]


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("compute-launchr", "did you mean compute-launcher or"),
        ("no_such_module:main", "No module named 'no_such_module'"),
        ("json:no_such_function", "no_such_function"),
        ("a:b:c", "not of the form module:function"),
        (f"{PROGRAMS}.on_eventlet:main", "it has eventlet patch the standard library ("),
        (
            f"{PROGRAMS}.on_eventlet_backend:main",
            "it needs the eventlet backend of oslo.service",
        ),
        (f"{PROGRAMS}.unguarded:main", "its import starts a service; name the function that"),
        (f"{PROGRAMS}.exiting:main", "its import exits the process ("),
        (f"{PROGRAMS}.raising:main", "its import raises KeyError: 'services' ("),
    ],
)
def test_an_unknown_program(run: Run, program: str, words: str) -> None:
    service = run(program)
    assert service.wait() == 78
    assert len(service.output.splitlines()) == 1
    assert words in service.output
    answer = service.run_command(f"--program={program}", "config", "check")
    assert answer.status == 78
    assert words in answer.stderr

"""--dev, as the developer of a manager meets it: saves, mistakes, Ctrl-C."""

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.functional.conftest import Launch
from tests.support.commands import Completed
from tests.support.directories import short_directory
from tests.support.processes import Launcher
from tests.support.rabbitmq import Vhost
from tests.support.terminal import CTRL_C, Terminal
from tests.support.traces import children
from tests.support.waiting import wait_until

THERMOMETER = """\
from launcher.serve.manager import Manager, expose

DEGREES = 20.0


class Thermometer(Manager):
    def init_host(self, service):
        import house.cellar  # in the worker only
        self.cellar = house.cellar.DEGREES

    @expose
    def degrees(self, context):
        return DEGREES

    @expose
    def degrees_below(self, context):
        return self.cellar

    @expose
    def stay(self, context, until):
        import os, time
        print("stays", flush=True)
        while not os.path.exists(until):
            time.sleep(0.01)
        return DEGREES

    @expose
    def fail(self, context):
        raise RuntimeError("no luck")
"""
CELLAR = "DEGREES = 8.0\n"
MANAGER = "--manager=thermo:Thermometer"
KEPT = "the code from before goes on serving, until a file is saved"
IDLE = "nothing serves until a file is saved"
SAVE_DEADLINE = 60.0  # seconds; about one on an idle machine


class Sources(NamedTuple):
    """What a developer has open in his editor."""

    directory: Path

    @property
    def manager(self) -> Path:
        return self.directory / "thermo.py"

    @property
    def cellar(self) -> Path:
        return self.directory / "house" / "cellar.py"

    def save(self, path: Path, text: str) -> None:
        """As editors do: whole at once, in another file's place."""
        draft = path.with_suffix(".new")
        draft.write_text(text)
        draft.replace(path)

    def set(self, degrees: float) -> None:
        self.save(self.manager, THERMOMETER.replace("20.0", str(degrees)))


@pytest.fixture
def sources() -> Iterator[Sources]:
    with short_directory() as here:
        found = Sources(here)
        found.cellar.parent.mkdir()
        found.manager.write_text(THERMOMETER)
        found.cellar.write_text(CELLAR)
        yield found


@pytest.fixture(params=["unix", "rabbit"])
def bus(request: pytest.FixtureRequest) -> dict[str, str]:
    """Options of [DEFAULT] that name the bus."""
    if request.param == "unix":
        return {}
    rabbit: Vhost = request.getfixturevalue("rabbit")
    return {"transport_url": rabbit.url}


def begin(launch: Launch, sources: Sources, *options: str, **settings: object) -> Launcher:
    return launch("--dev", MANAGER, *options, cwd=sources.directory, **settings)


def wait_for_answer(service: Launcher, wanted: float, method: str = "degrees") -> None:
    """A call on its way while masters change may find nobody for a moment."""

    def answer() -> str:
        return service.run_command("call", method).stdout

    wait_until(
        lambda: answer() == f"{wanted}\n", SAVE_DEADLINE, f"{method} is {wanted}", show=answer
    )


def masters(service: Launcher) -> list[int]:
    """Pids of the watcher's children."""
    return children(service.pid)


def test_what_is_saved_is_served(launch: Launch, sources: Sources, bus: dict[str, str]) -> None:
    service = begin(launch, sources, config={"DEFAULT": {"workers": 4, **bus}})
    service.wait_for_line("1/1 workers serving")
    wait_for_answer(service, 20.0)
    old = masters(service)

    for degrees in (21.0, 22.0):  # files of one size, within a second or not
        seen = len(service.output)
        sources.set(degrees)
        service.wait_for_line(r"thermo\.py saved", since=seen)
        service.wait_for_line("1/1 workers serving", since=seen)
        wait_for_answer(service, degrees)

    assert len(masters(service)) == 1
    assert masters(service) != old
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    service.assert_nothing_left()


def test_a_module_that_only_the_worker_imports_is_watched_too(
    launch: Launch, sources: Sources
) -> None:
    service = begin(launch, sources, "--workers=2")
    service.wait_for_line("2/2 workers serving")
    wait_for_answer(service, 8.0, "degrees_below")
    sources.save(sources.cellar, CELLAR.replace("8", "9"))
    service.wait_for_line(r"house/cellar\.py saved")
    wait_for_answer(service, 9.0, "degrees_below")


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("manager", "def f(:\n", r"error: \S*thermo\.py:\d+: invalid syntax$"),
        ("cellar", "DEGREES = (\n", r"error: \S*cellar\.py:\d+: '\(' was never closed$"),
        ("manager", "import elsewhere\n", r"error: .*No module named 'elsewhere' \(\S*thermo"),
        ("manager", "DEGREES += COLD\n", r"error: .*name 'COLD' is not defined \(\S*thermo"),
        ("manager", "raise SystemExit(0)\n", r"error: .*its import exits the process"),
        ("manager", "Thermometer = 3\n", r"error: .*it is no class derived from "),
    ],
)
def test_a_mistake_is_one_message_and_the_code_before_it_goes_on(
    launch: Launch, sources: Sources, name: str, wrong: str, said: str
) -> None:
    service = begin(launch, sources)
    service.wait_ready()
    old = masters(service)
    path: Path = getattr(sources, name)
    right, seen = path.read_text(), len(service.output)

    sources.save(path, right + wrong)
    service.wait_for_line(KEPT, since=seen)
    told = service.output[seen:]
    assert len(re.findall(r"^compute-launcher: error: ", told, re.MULTILINE)) == 1
    assert re.search(said, told, re.MULTILINE), told
    assert "/launcher/dev/" not in told  # frames of ours explain nothing
    wait_for_answer(service, 20.0)
    assert masters(service) == old

    sources.save(path, right)
    service.wait_for_line("1/1 workers serving", since=len(told) + seen)
    assert masters(service) != old


def test_what_the_watcher_has_imported_itself_is_watched_too(
    launch: Launch, sources: Sources
) -> None:
    """As the launcher's own modules are, in a checkout."""
    script, helper = sources.directory / "compute-launcher.py", sources.directory / "helper.py"
    script.write_text("import helper\nfrom launcher.__main__ import main\nmain()\n")
    helper.write_text("print('first helper', flush=True)\n")
    command = (sys.executable, str(script), "--dev", MANAGER)
    service = launch(command=command, cwd=sources.directory)
    service.wait_for_line("^first helper$")
    service.wait_ready()
    old, seen = masters(service), len(service.output)

    sources.save(helper, "print('second helper', flush=True)\n")

    service.wait_for_line("^second helper$", since=seen)
    service.wait_for_line("1/1 workers serving", since=seen)
    assert len(masters(service)) == 1
    assert masters(service) != old
    service.signal(signal.SIGINT)
    assert service.wait() == 0
    service.assert_nothing_left()


def test_a_module_that_was_missing_is_enough_to_mend_it(launch: Launch, sources: Sources) -> None:
    service = begin(launch, sources)
    service.wait_ready()
    text = THERMOMETER.replace("DEGREES = 20.0", "from attic import DEGREES")
    sources.save(sources.manager, text)
    service.wait_for_line(KEPT)
    sources.save(sources.directory / "attic.py", "DEGREES = 30.0\n")
    wait_for_answer(service, 30.0)


def test_a_mistake_before_the_first_start_waits_for_the_next_save(
    launch: Launch, sources: Sources
) -> None:
    sources.manager.write_text("def f(:\n")
    service = begin(launch, sources)
    service.wait_for_line(IDLE)
    assert "'(' was never closed" in service.output or "invalid syntax" in service.output
    assert service.status is None
    sources.set(21.0)
    wait_for_answer(service, 21.0)


def test_a_service_that_cannot_start_waits_for_the_next_save(
    launch: Launch, sources: Sources
) -> None:
    wrong = THERMOMETER.replace("import house.cellar ", "raise OSError('no cellar') ")
    sources.manager.write_text(wrong)
    service = begin(launch, sources)
    service.wait_for_line(rf"the service ended \(status 3\); {IDLE}")
    assert "no cellar" in service.output
    assert masters(service) == []
    sources.set(21.0)
    wait_for_answer(service, 21.0)


def test_what_no_new_code_can_mend_ends_it_as_without_dev(
    launch: Launch, sources: Sources
) -> None:
    absent = launch("--dev", "--manager=absent:Manager", cwd=sources.directory)
    wrong = begin(launch, sources, config={"DEFAULT": {"report_interval": "often"}})
    assert absent.wait() == 78
    assert "No module named 'absent'" in absent.output
    assert wrong.wait() == 78
    assert "report_interval" in wrong.output
    for service in (absent, wrong):
        service.assert_nothing_left()


def test_a_second_one_beside_it_is_refused(launch: Launch, sources: Sources) -> None:
    service = begin(launch, sources)
    service.wait_ready()
    second = service.run_command("--dev", MANAGER, env={"PYTHONPATH": str(sources.directory)})
    assert second.status == 78
    assert "is in use by" in second.stderr
    wait_for_answer(service, 20.0)


def call_that_stays(
    service: Launcher, until: Path, answers: list[Completed], timeout: int = 60
) -> threading.Thread:
    """A client that waits, whose call is in hand when this returns."""
    seen = len(service.output)
    words = ("call", "stay", f"until={until}", f"--timeout={timeout}")
    caller = threading.Thread(target=lambda: answers.append(service.run_command(*words)))
    caller.start()
    service.wait_for_line("^stays$", since=seen)
    return caller


def test_a_call_in_hand_is_answered_by_the_code_that_it_has_found(
    launch: Launch, sources: Sources
) -> None:
    service = begin(launch, sources)
    service.wait_ready()
    answers: list[Completed] = []
    caller = call_that_stays(service, sources.directory / "done", answers)
    sources.set(21.0)
    service.wait_for_line("stopping; 1 call in hand, oldest stay")
    (sources.directory / "done").touch()
    caller.join(60)
    assert answers[0].stdout == "20.0\n", answers
    wait_for_answer(service, 21.0)


def test_a_call_that_never_ends_holds_new_code_up_for_some_seconds_only(
    launch: Launch, sources: Sources
) -> None:
    service = begin(launch, sources)
    service.wait_ready()
    caller = call_that_stays(service, sources.directory / "never", [], timeout=1)
    sources.set(21.0)
    service.wait_for_line("SIGTERM again: the workers are killed")
    wait_for_answer(service, 21.0)
    caller.join(60)


def test_ctrl_c_drains_and_leaves_nothing(
    launch: Launch, sources: Sources, terminal: Terminal
) -> None:
    service = begin(launch, sources, terminal=terminal)
    service.wait_ready()
    answers: list[Completed] = []
    caller = call_that_stays(service, sources.directory / "done", answers)
    terminal.press(CTRL_C)
    service.wait_for_line("stopping; 1 call in hand, oldest stay")
    (sources.directory / "done").touch()
    assert service.wait() == 0
    caller.join(60)
    assert answers[0].stdout == "20.0\n", answers
    service.assert_nothing_left()


def test_ctrl_c_twice_ends_it_at_once(
    launch: Launch, sources: Sources, terminal: Terminal
) -> None:
    service = begin(launch, sources, terminal=terminal)
    service.wait_ready()
    caller = call_that_stays(service, sources.directory / "never", [], timeout=1)
    terminal.press(CTRL_C)
    service.wait_for_line("stopping: SIGINT received")
    terminal.press(CTRL_C)
    assert service.wait() == 130
    caller.join(60)
    service.assert_nothing_left()


def test_ctrl_c_in_the_drain_for_new_code_drains_on_and_starts_nothing(
    launch: Launch, sources: Sources, terminal: Terminal
) -> None:
    service = begin(launch, sources, terminal=terminal)
    service.wait_ready()
    answers: list[Completed] = []
    caller = call_that_stays(service, sources.directory / "done", answers)
    sources.set(21.0)
    service.wait_for_line("stopping; 1 call in hand, oldest stay")
    terminal.press(CTRL_C)
    wait_until(lambda: len(masters(service)) == 1, 30, "the new one is given up")
    (sources.directory / "done").touch()
    assert service.wait() == 0
    caller.join(60)
    assert answers[0].stdout == "20.0\n", answers
    service.assert_nothing_left()


def test_ctrl_c_while_nothing_serves(launch: Launch, sources: Sources, terminal: Terminal) -> None:
    sources.manager.write_text("def f(:\n")
    service = begin(launch, sources, terminal=terminal)
    service.wait_for_line(IDLE)
    terminal.press(CTRL_C)
    assert service.wait() == 0
    service.assert_nothing_left()


def test_ctrl_c_in_an_import_that_never_ends(
    launch: Launch, sources: Sources, terminal: Terminal
) -> None:
    endless = "import time\nprint('imports', flush=True)\nwhile True: time.sleep(1)\n"
    sources.manager.write_text(endless)
    service = begin(launch, sources, terminal=terminal)
    service.wait_for_line("^imports$")
    terminal.press(CTRL_C)
    assert service.wait() == 0
    service.assert_nothing_left()


def test_ctrl_z_does_not_stop_what_nobody_could_wake(
    launch: Launch, sources: Sources, terminal: Terminal
) -> None:
    service = begin(launch, sources, terminal=terminal)
    service.wait_ready()
    terminal.press("\x1a")
    sources.set(21.0)
    wait_for_answer(service, 21.0)
    terminal.press(CTRL_C)
    assert service.wait() == 0


def test_a_terminal_that_is_closed_ends_it(launch: Launch, sources: Sources) -> None:
    with Terminal() as terminal:
        service = begin(launch, sources, terminal=terminal)
        service.wait_ready()
    service.assert_nothing_left(deadline=30)


def test_nothing_is_left_when_the_watcher_is_killed(launch: Launch, sources: Sources) -> None:
    service = begin(launch, sources)
    service.wait_ready()
    os.kill(service.pid, signal.SIGKILL)
    service.assert_nothing_left(deadline=30)


@pytest.mark.parametrize("variable", ["INVOCATION_ID", "NOTIFY_SOCKET"])
def test_under_systemd_it_is_refused(launch: Launch, sources: Sources, variable: str) -> None:
    service = begin(launch, sources, env={variable: "/run/systemd/notify"})
    assert service.wait() == 2
    said = "compute-launcher: error: --dev is for a developer's terminal, and this was started by"
    assert service.output.startswith(said), service.output
    assert len(service.output.splitlines()) == 1


def traceback_of_a_failed_call(service: Launcher) -> list[str]:
    """The lines of the log, from the one of the call on."""
    service.wait_ready()
    seen = len(service.output)
    assert service.run_command("call", "fail").status == 1
    service.wait_for_line("RuntimeError: no luck", since=seen)
    return service.output[seen:].splitlines()


def test_a_terminal_sees_colours_and_plain_tracebacks(
    launch: Launch, sources: Sources, terminal: Terminal
) -> None:
    service = begin(launch, sources, terminal=terminal)
    lines = traceback_of_a_failed_call(service)
    assert any(line.startswith("\x1b[31m") and "ERROR" in line for line in lines), lines
    assert any(line.startswith("| Traceback (most recent") for line in lines), lines


def test_no_color_is_respected(launch: Launch, sources: Sources, terminal: Terminal) -> None:
    service = begin(launch, sources, terminal=terminal, env={"NO_COLOR": "1"})
    traceback_of_a_failed_call(service)
    sources.save(sources.manager, "def f(:\n")
    service.wait_for_line(KEPT)
    assert "\x1b" not in service.output


def test_a_pipe_sees_no_colours_and_plain_tracebacks(launch: Launch, sources: Sources) -> None:
    service = begin(launch, sources)
    lines = traceback_of_a_failed_call(service)
    assert any(line.startswith("| Traceback (most recent") for line in lines), lines
    sources.save(sources.manager, "def f(:\n")
    service.wait_for_line(KEPT)
    assert "\x1b" not in service.output


def test_an_upgrade_is_refused_and_changes_nothing(launch: Launch, sources: Sources) -> None:
    service = begin(launch, sources)
    service.wait_ready()
    answer = service.run_command("upgrade")
    assert answer.status == 1
    assert "--dev has it start anew when a file is saved; restart it instead" in answer.stderr
    assert service.run_command("status").status == 0

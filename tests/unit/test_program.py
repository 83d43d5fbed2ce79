"""Foreign programs: how they are found, what is recorded of a launch, what the seam checks."""

import queue
import signal
import subprocess
import sys
import threading
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from oslo_log import handlers

from launcher import native_threads
from launcher.cli import program as command
from launcher.errors import (
    ExitStatus,
    PrivateNameGone,
    ProgramEnded,
    ProgramFailed,
    ProgramNotFound,
    ProgramUnfit,
)
from launcher.program import finding, hosted, seam
from launcher.program.finding import Program, find
from launcher.program.importing import Imported
from launcher.program.late_options import LateOptions
from launcher.program.library_names import Name
from launcher.program.main_function import run_main
from launcher.program.recording import Launched, Recording
from tests.support.waiting import wait_until

PROGRAM = Program("x:main", EntryPoint("x:main", "x:main", "console_scripts"))


def imported(main: Any, recording: Recording | None = None) -> Imported:
    return Imported(PROGRAM, ("x", "--theirs"), main, recording or Recording("x"), LateOptions())


def test_a_console_script_is_found() -> None:
    found = find("compute-launcher")
    assert found.entry.value == "launcher.__main__:main"
    assert found.version.startswith("compute-launcher 0.")


def test_a_function_is_found_by_its_path() -> None:
    found = find("some.module:main")
    assert (found.service, found.version) == ("some.module.main", "")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("compute-launchr", "did you mean compute-launcher"),
        ("zzz", "console script"),
        ("a:", "form"),
    ],
)
def test_an_unknown_program_is_refused(name: str, words: str) -> None:
    with pytest.raises(ProgramNotFound, match=words):
        find(name)


def test_a_script_that_is_none_of_a_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell script, as distributions have them."""
    script = tmp_path / "my-agent"
    script.write_text("#!/bin/sh\nexec something\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProgramNotFound, match=f"{script} is no console script of a package.*name"):
        find("my-agent")


class Conf:
    """As oslo.config's."""

    def register_opts(self, *_: object) -> None:
        """Do nothing."""


class Service:
    """Notes what is called, if it does not fail."""

    backdoor_port = 1

    def __init__(self, fault: str = "") -> None:
        self.calls: list[str] = []
        self.begun = threading.Event()
        self._fault = fault

    def start(self) -> None:
        """Fail, or be started."""
        if self._fault:
            raise RuntimeError(self._fault)
        self.begun.set()

    def stop(self) -> None:
        """Note it."""
        self.calls.append("stop")

    def wait(self) -> None:
        """Likewise."""
        self.calls.append("wait")


def test_a_launch_is_recorded_and_ends_main() -> None:
    recording = Recording("x")
    service = Service()
    launcher = recording.launch(Conf(), service, workers=3, restart_method="mutate")
    (launch,) = recording.launches
    assert (launch.make(7), launch.workers) == (service, 3)
    with pytest.raises(Launched):
        launcher.wait()


def test_a_service_of_a_service_is_started_and_stopped() -> None:
    """Its launcher was made in main(). Another one, which launches nothing, does not wait."""
    recording, service = Recording("x"), Service()
    launcher, unused = (recording.thread_launcher(Conf(), "mutate") for _ in range(2))
    recording.launch(Conf(), Service())
    recording.over = True
    launcher.launch_service(service)
    assert service.begun.wait(10)
    waits = threading.Thread(target=launcher.wait, daemon=True)
    waits.start()  # as oslo.service does, until it is stopped
    wait_until(lambda: service.calls == ["wait"], 10, "it waits")
    assert waits.is_alive()
    launcher.stop()
    waits.join(10)
    assert not waits.is_alive()
    assert (launcher.wait(), unused.wait()) == (0, 0)
    assert service.calls == ["wait", "stop", "wait"]
    assert len(recording.launches) == 1


def test_a_service_of_a_service_that_does_not_start_is_reported() -> None:
    recording, crashed = Recording("x"), queue.Queue[BaseException]()
    recording.over, recording.on_crash = True, crashed.put
    recording.thread_launcher(Conf()).launch_service(Service("it is broken"))
    assert str(crashed.get(timeout=10)) == "it is broken"


def test_a_service_of_a_service_gets_no_process() -> None:
    recording = Recording("x")
    recording.over = True
    with pytest.raises(ProgramUnfit, match="program x cannot be run: a service of its launches"):
        recording.launch(Conf(), Service())


def test_a_service_of_cotyledon_is_made_with_its_arguments() -> None:
    made = []

    class Service:
        def __init__(self, number: int, word: str, *, other: int) -> None:
            made.append((number, word, other))

    recording = Recording("x")
    manager = recording.manager()
    service_id = manager.add(Service, workers=2, args=("word",), kwargs={"other": 5})
    hooks: list[object] = []
    manager.register_hooks(on_new_worker=lambda *args: hooks.append(args[:2]))
    with pytest.raises(Launched):
        manager.run()
    found = hosted.host(recording.launches[0], 3, lambda error: None)
    assert isinstance(found, hosted.CotyledonService)
    assert made == [(3, "word", 5)]
    assert hooks == [(service_id, 3)]


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker changes for good is put back."""
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(handlers, "_get_binary_name", handlers._get_binary_name)


def test_main_sees_its_own_command_line() -> None:
    recording, seen = Recording("x"), []

    def main() -> None:
        import cotyledon  # noqa: PLC0415  # as a program may do it: in main()

        seen.append(list(sys.argv))
        manager = cotyledon.ServiceManager()
        manager.add(cotyledon.Service)
        manager.run()

    assert len(run_main(imported(main, recording))) == 1
    assert seen == [["x", "--theirs"]]


WORKER = """
import signal, subprocess
from launcher.program.main_thread import MainThread, allow_signals
allow_signals()
from signal import signal as handle_too
from launcher.serve.forked_children import ignore_signals

ignore_signals([signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN])
before = signal.getsignal(signal.SIGUSR2)

def main():
    signal.signal(signal.SIGUSR2, lambda *_: None)  # as oslo.reports does
    handle_too(signal.SIGHUP, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)

MainThread(main).run()
assert signal.getsignal(signal.SIGUSR2) == before
subprocess.run(["grep", "SigIgn", "/proc/self/status"], check=True)
signal.signal(signal.SIGUSR2, signal.SIG_DFL)
assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL
"""


def test_signals_stay_the_launchers_whatever_main_does() -> None:
    """What the program starts ignores none that its `main()` has handled."""
    start = [sys.executable, "-c", WORKER]
    done = subprocess.run(start, capture_output=True, text=True, check=True)
    ignored = int(done.stdout.split()[1], 16)
    signals = signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN
    assert [one.name for one in signals if ignored & 1 << one - 1] == []


def test_main_stays_where_it_waits() -> None:
    """Nothing behind it is done, and no error is seen. A thread of it may be what waits."""
    recording, done = Recording("x"), []

    def main() -> None:
        import cotyledon  # noqa: PLC0415  # as a program may do it: in main()

        try:
            manager = cotyledon.ServiceManager()
            manager.add(cotyledon.Service)
            waiting = threading.Thread(target=manager.run, daemon=True)
            waiting.start()
            waiting.join()
        except BaseException:  # noqa: BLE001  # as careless authors do
            done.append("an error")
        finally:
            done.append("cleaned up")

    assert len(run_main(imported(main, recording))) == 1
    assert not done


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("import eventlet.green", r"it needs eventlet \(.*no_place.py:1\), which cannot run"),
        (
            "from oslo_service import backend as b; b.init_backend(b.BackendType.EVENTLET)",
            r"it needs the eventlet backend of oslo.service \(.*no_place.py:1\), which",
        ),
    ],
)
def test_a_main_that_needs_eventlet(statement: str, words: str) -> None:
    native_threads.require()
    code = compile(statement, "/no_place.py", "exec")
    with pytest.raises(ProgramUnfit, match=words):
        run_main(imported(lambda: exec(code, {})))


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda: None, "returned before it started a service; is it a command?"),
        (sys.exit, "ended with status 0 before"),
        (lambda: sys.exit(0), "ended with status 0 before"),
        (lambda: sys.exit(2), "ended with status 2 before"),
    ],
)
def test_a_main_that_launches_nothing(end: Any, words: str) -> None:
    """Nor would it the next time: 2 says that the command line is wrong."""
    with pytest.raises(ProgramEnded, match=words) as raised:
        run_main(imported(end))
    assert raised.value.exit_status == ExitStatus.CONFIG


@pytest.mark.parametrize(
    ("code", "words"),
    [(1, "ended with status 1 before"), (-1, "status -1"), ("no table", "ended with 'no table'")],
)
def test_a_main_that_has_failed(code: int | str, words: str) -> None:
    """What it needs may be there the next time."""
    with pytest.raises(ProgramFailed, match=words) as raised:
        run_main(imported(lambda: sys.exit(code)))
    assert raised.value.exit_status == ExitStatus.INTERNAL


def test_a_private_name_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    seam.check()
    gone = Name("oslo.messaging", "oslo_messaging.rpc.server", "RPCServer._gone")
    monkeypatch.setattr(seam, "NAMES", (gone,))
    with pytest.raises(PrivateNameGone, match=r"oslo.messaging 18.* has no .*RPCServer._gone"):
        seam.check()


@pytest.mark.parametrize(
    ("line", "runs"),
    [
        ("compute-launcher --program x", True),
        ("compute-launcher --program=x --workers 2 -- status", True),
        ("compute-launcher --program x config check -- --a", True),
        ("compute-launcher config check --program x", True),
        ("compute-launcher --program x status", False),
        ("compute-launcher --prog x", True),
        ("compute-launcher --program x --config-file status", True),
        ("compute-launcher status", False),
        ("compute-launcher -- --program x", False),
    ],
)
def test_which_command_lines_run_a_program(line: str, runs: bool) -> None:
    assert command.runs_program(line.split()) is runs


@pytest.mark.parametrize("option", ["--dev", "--manager=x", "--host=x"])
def test_options_of_managers_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["compute-launcher", "--program=x", option]) == 2
    assert "is for a manager, not for a program" in capsys.readouterr().err


def test_nothing_of_oslo_comes_before_the_program() -> None:
    """A program may replace parts of oslo.config: modules that came earlier keep the old ones."""
    text = (
        "import sys, launcher.__main__; "
        "print([n for n in sys.modules if n.split('.')[0] in "
        "{'oslo_config', 'oslo_messaging', 'oslo_service', 'oslo_log', 'cotyledon', 'eventlet'}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


def test_names_of_files_never_clash_with_the_programs_own() -> None:
    assert command.binary_of("nova-conductor") == "nova-conductor-launcher"
    assert finding.service_of("a.b:main") == "a.b.main"

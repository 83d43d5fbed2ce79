"""Foreign programs: how they are found, what is recorded of a launch, what the seam checks."""

import signal
import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from launcher.cli import program as command
from launcher.errors import PrivateNameGone, ProgramEnded, ProgramNotFound
from launcher.program import finding, hosted, seam
from launcher.program.finding import Program, find
from launcher.program.importing import Imported
from launcher.program.late_options import LateOptions
from launcher.program.library_names import Name
from launcher.program.main_function import run_main
from launcher.program.recording import Launched, Recording

PROGRAM = Program("x:main", EntryPoint("x:main", "x:main", "console_scripts"))


def imported(main: Any, recording: Recording | None = None) -> Imported:
    return Imported(PROGRAM, ("x", "--theirs"), main, recording or Recording(), LateOptions())


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


def test_a_launch_is_recorded_and_ends_main() -> None:
    recording = Recording()

    class Service:
        backdoor_port = 1

    service = Service()

    class Conf:
        def register_opts(self, *_: object) -> None:
            """As oslo.config's."""

    launcher = recording.launch(Conf(), service, workers=3, restart_method="mutate")
    (launch,) = recording.launches
    assert (launch.make(7), launch.workers) == (service, 3)
    with pytest.raises(Launched):
        launcher.wait()


def test_a_service_of_cotyledon_is_made_with_its_arguments() -> None:
    made = []

    class Service:
        def __init__(self, number: int, word: str, *, other: int) -> None:
            made.append((number, word, other))

    recording = Recording()
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


def test_main_sees_its_own_command_line() -> None:
    recording, seen = Recording(), []

    def main() -> None:
        import cotyledon  # noqa: PLC0415  # as a program may do it: in main()

        seen.append(list(sys.argv))
        manager = cotyledon.ServiceManager()
        manager.add(cotyledon.Service)
        manager.run()

    before = list(sys.argv)
    assert len(run_main(imported(main, recording))) == 1
    assert seen == [["x", "--theirs"]]
    assert sys.argv == before


WORKER = """
import signal, subprocess
from launcher.program.main_function import _process_kept
from launcher.serve.forked_children import ignore_signals

ignore_signals([signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN])
with _process_kept():
    signal.signal(signal.SIGUSR2, lambda *_: None)  # as oslo.reports does
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
subprocess.run(["grep", "SigIgn", "/proc/self/status"], check=True)
"""


def test_what_a_program_starts_ignores_no_signal_that_its_main_has_handled() -> None:
    start = [sys.executable, "-c", WORKER]
    done = subprocess.run(start, capture_output=True, text=True, check=True)
    ignored = int(done.stdout.split()[1], 16)
    signals = signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN
    assert [one.name for one in signals if ignored & 1 << one - 1] == []


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda: None, "returned before it started a service; is it a command?"),
        (lambda: sys.exit(0), "ended with status 0 before"),
        (lambda: sys.exit("no table"), "ended with 'no table' before"),
    ],
)
def test_a_main_that_launches_nothing(end: Any, words: str) -> None:
    with pytest.raises(ProgramEnded, match=words):
        run_main(imported(end))


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

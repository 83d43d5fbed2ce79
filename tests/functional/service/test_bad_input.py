"""An operator's mistake: one sentence on stderr, the right exit status, nothing left behind."""

import os
import re
import signal
import socket
from collections.abc import Mapping

import pytest

from tests.functional.service.conftest import Start
from tests.support.commands import SCRIPTS
from tests.support.notify_socket import NotifySocket
from tests.support.processes import Launcher

Config = Mapping[str, Mapping[str, object]]
QUICK = {"start_timeout": 2}


def complaint(service: Launcher) -> str:
    """The one sentence with which it ended; there is no traceback anywhere."""
    *before, last = service.output.splitlines()
    assert last.startswith("compute-launcher: error: ")
    assert not [line for line in before if line.startswith("compute-launcher: error: ")]
    assert "Traceback" not in service.output
    service.assert_nothing_left()
    return last


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--workers=0"], "--workers: '0'"),
        (["--workers=x"], "--workers: 'x'"),
        (["--workers=-1"], "--workers: '-1'"),
        (["--nonsense"], "--nonsense"),
        (["nonsense"], "nonsense"),
    ],
)
def test_usage_errors_end_with_2(start: Start, options: list[str], words: str) -> None:
    service = start("Traced", *options)
    assert service.wait() == 2
    assert words in service.output.splitlines()[-1]
    assert "Traceback" not in service.output
    service.assert_nothing_left()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"DEFAULT": {"manager": "nope"}}, "no manager 'nope'"),
        ({"DEFAULT": {"manager": "no.such:Thing"}}, "No module named 'no'"),
        ({"DEFAULT": {"manager": "os:getcwd"}}, "no class derived from"),
        (
            {"DEFAULT": {"manager": "tests.functional.service.managers:NotAManager"}},
            "no class derived from",
        ),
        ({"DEFAULT": {"transport_url": "nonsense"}}, "this is no URL"),
        ({"DEFAULT": {"transport_url": "carrier-pigeon://x/"}}, "carrier-pigeon"),
        ({"DEFAULT": {"transport_url": "rabbit://u:hush@h:port/"}}, "rabbit://u:***@h:port/"),
        ({"DEFAULT": {"transport_url": "kafka://h:9092/"}}, "needs is not installed"),
        ({"DEFAULT": {"transport_url": "rabbit://h:99999/"}}, "port 99999 is out of range"),
        ({"DEFAULT": {"transport_url": "rabbit://u:hush@:5672/"}}, "names no host"),
        ({"DEFAULT": {"transport_url": "fake://"}}, "transport_url: fake: stays within"),
        ({"DEFAULT": {"transport_url": "unix://host/x"}}, "transport_url = unix://host/x"),
        ({"DEFAULT": {"workers": 0}}, "workers"),
        ({"DEFAULT": {"workers": "many"}}, "workers"),
        ({"DEFAULT": {"report_interval": "often"}}, "report_interval"),
        ({"DEFAULT": {"service_down_time": 5}}, "service_down_time"),
        ({"DEFAULT": {"state_path": "/proc/nope"}}, "/launcher.conf = /proc/nope: "),
        ({"DEFAULT": {"state_path": "relative"}}, "state_path"),
        ({"DEFAULT": {"runtime_path": "/tmp/" + 90 * "x"}}, "runtime_path"),
        ({"database": {"connection": "nonsense"}}, "database"),
        ({"database": {"connection": "foo://u:hush@h/db"}}, "foo://u:***@h/db"),
        ({"periodic_tasks": {"spacing": "tick:often"}}, "spacing"),
    ],
)
def test_a_wrong_configuration_ends_with_78_and_is_told_to_systemd(
    start: Start, notify: NotifySocket, config: Config, words: str
) -> None:
    service = start("Traced", config=config, notify=notify)
    assert service.wait() == 78
    sentence = complaint(service)
    assert words in sentence
    assert "hush" not in service.output
    assert words in notify.values("STATUS")[-1]
    assert not notify.says("READY=1")


@pytest.mark.parametrize("name", ["REPORT_INTERVAL", "WORKERS", "DEBUG"])
def test_a_wrong_value_in_the_environment_is_one_sentence(start: Start, name: str) -> None:
    """No file is blamed for it, which has the option as well."""
    config = {"DEFAULT": {"report_interval": 10, "workers": 2, "debug": True}}
    service = start("Traced", config=config, env={f"OS_DEFAULT__{name}": "often"})
    assert service.wait() == 78
    sentence = complaint(service)
    assert f"option {name.lower()} in OS_DEFAULT__{name}: " in sentence
    assert str(service.config_file) not in sentence


@pytest.mark.parametrize("manager", ["Optioned", "OptionedLate"])
def test_a_wrong_value_of_a_managers_own_option_is_one_sentence(
    start: Start, manager: str
) -> None:
    """Told by a start, a check and a reload. A check does not know what only workers register."""
    service = start(manager, config={"gauge": {"offset": "warm"}})
    sentence = "option [gauge] offset in {}: 'warm' is no number".format
    told = sentence(service.config_file)
    assert service.wait() == 78
    assert told in complaint(service)
    assert "LocationInfo" not in service.output
    answer = service.run_command("config", "check")
    assert (answer.status, told in answer.stderr) == (
        (78, True) if manager == "Optioned" else (0, False)
    )
    service = start(manager, config={"gauge": {"shift": 1}})
    service.wait_ready()
    assert "there is no" not in service.output  # of the deprecated name
    text = service.config_file.read_text()
    service.config_file.write_text(text.replace("shift = 1", "offset = warm"))
    answer = service.run_command("reload")
    assert answer.status == 1
    assert sentence(service.config_file) in answer.stderr
    by_a_worker = "does not become ready" in answer.stderr
    assert by_a_worker == (manager == "OptionedLate")
    assert "Traceback" not in service.output


def test_misspelt_options_and_sections_are_told(start: Start) -> None:
    """In the log of a start and of a reload, and by a check. Other sections may be a manager's."""
    config = {
        "DEFAULT": {"reprot_interval": 5, "rpc_response_timeout": 30},
        "databse": {"connection": "x"},
        "gauge": {"offest": 1},
        "oslo_messaging_rabbit": {"heartbeat_rat": 1, "ssl": "true"},
        "theirs": {"x": 1},
    }
    warnings = {
        "there is no option reprot_interval in [DEFAULT]; is report_interval meant?",
        "there is no section [databse]; is [database] meant?",
        "there is no option offest in [gauge]; is offset meant?",
        "there is no option heartbeat_rat in [oslo_messaging_rabbit]; is heartbeat_rate meant?",
    }
    service = start("Optioned", config=config)
    service.wait_ready()
    told = re.findall(r"WARNING .*?(there is no .*)", service.output)
    assert (set(told), len(told)) == (warnings, 4)
    assert service.run_command("reload").status == 0
    told = re.findall(r"WARNING .*?(there is no .*)", service.output)
    assert (set(told), len(told)) == (warnings, 8)
    answer = service.run_command("config", "check")
    assert answer.status == 0
    assert set(re.findall("warning: (.*)", answer.stderr)) == warnings


def test_a_bus_that_others_can_read_is_a_matter_of_configuration(start: Start) -> None:
    first = start("Traced")
    first.wait_ready()
    url = f"unix://{first.runtime_path}/bus"
    (first.runtime_path / "bus").chmod(0o755)
    second = start("Traced", config={"DEFAULT": {"transport_url": url}})
    assert second.wait() == 78
    assert "chmod 0700 it" in complaint(second)
    assert second.run_command("config", "check").status == 78


def test_the_status_is_right_when_nobody_can_be_told_the_reason(start: Start) -> None:
    script = 'exec "$0" --manager=nope 2>/dev/full'
    service = start("Traced", command=("sh", "-c", script, str(SCRIPTS / "compute-launcher")))
    assert service.wait() == 78
    answer = service.run_shell('"$0" config show >/dev/full')
    assert (answer.status, answer.stderr.count("\n")) == (1, 1)
    assert "No space left on device" in answer.stderr


def test_a_file_that_does_not_parse_is_named_with_its_line(start: Start) -> None:
    service = start("Traced", config={"DEFAULT": {"debug": "true\n[broken"}})
    assert service.wait() == 78
    assert f"{service.config_file}:" in complaint(service)


def test_a_bus_that_is_away_ends_the_start_with_69(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    url = f"rabbit://guest:hush@127.0.0.1:{port}/"
    service = start("Traced", config={"DEFAULT": QUICK | {"transport_url": url}})
    assert service.wait() == 69
    assert f"bus rabbit://guest:***@127.0.0.1:{port}/ cannot be reached" in complaint(service)
    assert "hush" not in service.output


def test_a_bus_that_cannot_be_used_is_told_in_a_sentence(start: Start) -> None:
    service = start("Traced", config={"DEFAULT": QUICK | {"transport_url": "unix:///proc/x"}})
    assert service.wait() in {69, 78}
    assert "unix:///proc/x" in complaint(service)


def test_a_corrupt_database_is_left_as_it_is(start: Start, tmp_path: os.PathLike[str]) -> None:
    file = os.path.join(tmp_path, "corrupt.sqlite")  # noqa: PTH118  # an SQLAlchemy URL follows
    garbage = os.urandom(5000)
    with open(file, "wb") as output:
        output.write(garbage)
    service = start("Traced", config={"database": {"connection": f"sqlite:///{file}"}})
    assert service.wait() == 78
    assert file in complaint(service)
    with open(file, "rb") as found:
        assert found.read() == garbage


def test_a_second_instance_is_refused_and_told_the_pid_of_the_first(start: Start) -> None:
    first = start("Traced")
    first.wait_ready()
    config = {"DEFAULT": {"runtime_path": first.runtime_path}}
    second = start("Traced", config=config)
    assert second.wait() == 78
    assert f"in use by compute-launcher with pid {first.master()};" in complaint(second)
    assert first.run_command("ping").status == 0


def test_commands_without_a_service_say_so(start: Start) -> None:
    service = start("Traced", "--workers=0")
    service.wait()
    ping = service.run_command("ping", "--timeout=1")
    assert ping.status == 69
    assert "is the service running?" in ping.stderr
    assert ping.stderr.count("\n") == 1
    reload = service.run_command("reload")
    assert reload.status == 69
    assert "is it running" in reload.stderr


@pytest.mark.parametrize("arguments", ["novalue", "=1", "a b=1"])
def test_a_call_with_wrong_arguments_is_a_usage_error(start: Start, arguments: str) -> None:
    service = start("Traced", "--workers=0")
    service.wait()
    answer = service.run_command("call", "echo", arguments)
    assert answer.status == 2
    assert answer.stderr.count("\n") == 1


def test_options_that_nobody_knows_are_named_by_config_check(start: Start) -> None:
    """They are no error: an older or newer program may know them, a manager its own sections."""
    config = {
        "DEFAULT": {"workerz": 4, "log-file": "", "rpc_response_timeout": 30},
        "supervision": {"restart_limitt": 1},
        "oslo_messaging_rabbit": {"ssl": False, "rabbit_quorum_queues": True},
        "thermometer": {"scale": "celsius"},
    }
    service = start("Traced", "--workers=0", config=config)
    service.wait()
    answer = service.run_command("config", "check")
    assert answer.status == 0, answer
    named = re.findall(r"there is no option (\S+) in \[(\w+)\]", answer.stderr)
    assert set(named) == {
        ("workerz", "DEFAULT"),
        ("restart_limitt", "supervision"),
        ("rabbit_quorum_queues", "oslo_messaging_rabbit"),
    }


def test_a_file_in_the_place_of_the_control_socket_is_no_obstacle_but_a_directory(
    start: Start,
) -> None:
    service = start("Traced", "--workers=1")
    service.wait_ready()
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    (service.runtime_path / "control.sock").mkdir()
    service.start_again()
    assert service.wait() == 78
    assert "control.sock in it: Is a directory" in complaint(service)

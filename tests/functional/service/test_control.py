"""The service can be asked: `status`, `health`, and curl on the control socket."""

import json
import os
import random
import re
import signal
import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from launcher.cli.control_client import ControlClient
from launcher.directories.locations import CONTROL_SOCKET
from launcher.supervise.control.router import COMMANDS, REPORTS
from launcher.supervise.watch.pacing import ROUND_SECONDS
from tests.functional.service.conftest import Start
from tests.functional.service.faults import FAST, status
from tests.functional.service.traces import put, trace
from tests.support.commands import SCRIPTS
from tests.support.processes import Launcher
from tests.support.terminal import CTRL_C, Terminal
from tests.support.waiting import wait_until

SOON = 30.0
LATE = 60.0  # than a master gives up a report
ROOT = Path(__file__).parents[3]
SEED = int(os.environ.get("FUZZ_SEED", random.randrange(1 << 32)))
VISITS = int(os.environ.get("FUZZ_VISITS", "300"))
MANUAL = (
    (ROOT / "etc/man/compute-launcher.7.in").read_text().replace("\\-", "-").replace("\\(aq", "'")
)


@pytest.fixture
def service(start: Start) -> Launcher:
    service = start("Traced", "--workers=2", config=FAST)
    service.wait_ready()
    return service


def curl(service: Launcher, *words: str) -> str:
    """As compute-launcher(7) says."""
    path = service.runtime_path / CONTROL_SOCKET
    answer = service.run_shell(f"curl --silent --unix-socket {path} {' '.join(words)}")
    assert answer.status == 0, answer
    return answer.stdout


def test_status_is_a_table_that_fits_80_columns(service: Launcher) -> None:
    answer = service.run_command("status")
    lines = answer.stdout.splitlines()
    assert answer.status == 0
    assert lines[0] == "2/2 workers serving"
    assert lines[1].split()[:4] == ["SLOT", "PID", "STATE", "AT"]
    assert [line.split()[2] for line in lines[2:]] == ["serving", "serving"]
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in answer.stdout
    assert [line.split()[0].startswith("*") for line in lines[2:]].count(True) <= 1


def test_status_as_json_is_what_the_manual_promises(service: Launcher) -> None:
    promised = MANUAL.partition("\\fBstatus --json\\fR has ")[2].partition("Ages are")[0]
    assert promised
    names = set(re.findall(r"\\fB(\w+)\\fR", promised))
    assert service.run_command("call", "echo", "value=1").status == 0
    wait_until(lambda: status(service)["queues"], SOON, "a worker has looked at its queues")
    found = status(service)
    (worker, _) = found["workers"]
    nested = worker["calls"], found["queues"], found["waits"]["echo"]
    assert names == set(found).union(worker, *nested)
    assert worker["memory"] > 1_000_000
    assert worker["cpu_seconds"] > 0


def test_health_is_for_probes_of_containers(service: Launcher) -> None:
    answer = service.run_command("health")
    assert (answer.status, answer.stdout) == (0, "pass: 2/2 workers serving\n")
    found = json.loads(service.run_command("health", "--json").stdout)
    assert {check["status"] for group in found["checks"].values() for check in group} == {"pass"}
    service.signal(signal.SIGTERM)
    service.wait()
    assert service.run_command("health").status == 3


def test_health_fails_before_the_service_is_ready(start: Start) -> None:
    service = start("Hung", "--workers=1", "--debug")
    service.wait_for_line("init_host _step")
    answer = service.run_command("health")
    assert answer.status == 1
    assert answer.stdout.startswith("fail: starting: 0/1 serving; worker 0: init_host")
    put(service, "go")
    service.wait_ready()
    assert service.run_command("health").status == 0


def test_what_the_manual_says_of_curl_works(service: Launcher) -> None:
    said = re.findall(r"^ +http://localhost(/\S*)(.*)$", MANUAL, re.MULTILINE)
    assert [path for path, _ in said] == ["/status", "/scale"]
    routes = re.findall(r"^\\fB(GET|POST) (/.*)\\fR$", MANUAL, re.MULTILINE)
    asked = [(path, f"-X {way}") for way, paths in routes for path in paths.split(", ")]
    plain = [(path.replace("\\fRSLOT\\fB", "1"), way) for path, way in asked if path != "/scale"]
    assert len(plain) >= 5
    for path, words in (*plain, *said):
        assert curl(service, f"-f http://localhost{path} {words.strip()}"), path
    head = curl(service, "-i http://localhost/health")
    assert "Content-Type: application/health+json" in head
    assert status(service)["headline"] == "3/3 workers serving"


def test_the_socket_is_its_owners_alone(service: Launcher) -> None:
    path = service.runtime_path / CONTROL_SOCKET
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    service.directory.chmod(0o755)
    service.runtime_path.chmod(0o755)
    path.chmod(0o666)  # and even then
    nobody = f"setpriv --reuid=65534 --clear-groups curl --silent --unix-socket {path}"
    assert service.run_shell(f"{nobody} http://localhost/status").stdout == ""
    service.wait_for_line(r"control socket: pid \d+ of uid 65534 turned away")


def test_a_stale_socket_is_no_obstacle(start: Start) -> None:
    service = start("Traced", "--workers=1")
    service.wait_ready()
    service.signal(signal.SIGKILL)
    service.wait()
    assert (service.runtime_path / CONTROL_SOCKET).exists()
    assert service.run_command("status").status == 3
    service.start_again()
    service.wait_ready()
    assert service.run_command("status").status == 0


def test_watch_shows_what_changes_until_ctrl_c(service: Launcher, terminal: Terminal) -> None:
    script: list[str | Path] = [SCRIPTS / "compute-launcher", "status", "--watch"]
    process = terminal.start(script, env=service.environment | {"TERM": "xterm"})
    wait_until(lambda: "2/2 workers serving" in terminal.screen, SOON, "it shows all")
    assert service.run_command("scale", "3").status == 0
    wait_until(lambda: "3/3 workers serving" in terminal.screen, SOON, "it shows the change")
    terminal.press(CTRL_C)
    assert process.wait(SOON) == 0


def test_visitors_that_are_slow_broken_or_hostile_delay_nothing(service: Launcher) -> None:
    """The monitor goes on, and so does whoever asks properly."""
    chance = random.Random(SEED)
    path = str(service.runtime_path / CONTROL_SOCKET)
    whole = b"GET /status HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    slow = [socket.socket(socket.AF_UNIX) for _ in range(4)]
    for visitor in slow:
        visitor.connect(path)
        visitor.send(whole[: chance.randrange(len(whole))])
    for _ in range(VISITS):
        visit(path, spoilt(whole, chance))
    answer = service.run_command("status")
    assert answer.status == 0, f"seed {SEED}"
    for visitor in slow:
        visitor.close()
    assert "Traceback" not in service.output, f"seed {SEED}"
    assert service.status is None


def visit(path: str, data: bytes) -> None:
    """Say something, and go without waiting for the answer."""
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.settimeout(SOON)
        try:
            visitor.connect(path)
            visitor.sendall(data)
            visitor.shutdown(socket.SHUT_WR)
            visitor.recv(1)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError, TimeoutError):
            return  # turned away, as it should be


def spoilt(whole: bytes, chance: random.Random) -> bytes:
    """Bytes that are no good request."""
    kind = chance.randrange(6)
    if kind == 0:
        return chance.randbytes(chance.randrange(1, 4096))
    if kind == 1:
        return whole[: chance.randrange(1, len(whole))]
    if kind == 2:
        return whole.replace(b"2\r\n", b"%d\r\n" % chance.choice([-1, 10**12, 65537]))
    if kind == 3:
        return b"POST /scale HTTP/1.1\r\nContent-Length: 60000\r\n\r\n" + b"[" * 60000
    if kind == 4:
        return whole.replace(b"Host: x", b"X: " + b"y" * chance.choice([70_000, 200]))
    return whole.replace(b"{}", chance.choice([b"[]", b"\xff\xfe", b'"a', b"{"]))


CROWDS = {
    "idle": b"",
    "slow": b"GET /health HTT",
    "without the body": b"POST /scale HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
    "reports of a stopped worker": b"GET /workers/1/report HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("said", CROWDS.values(), ids=CROWDS)
def test_no_crowd_keeps_a_probe_from_its_answer(service: Launcher, said: bytes) -> None:
    """16 idle ones did, and a liveness probe would have killed a service that ran well."""
    stopped = service.workers()[1] if b"report" in said else None
    if stopped:
        os.kill(stopped, signal.SIGSTOP)
    with ExitStack() as stack:
        for _ in range(40):
            visitor = stack.enter_context(socket.socket(socket.AF_UNIX))
            wait_until(
                lambda: not visitor.connect_ex(str(service.runtime_path / CONTROL_SOCKET)),  # noqa: B023
                SOON,
                "there is room in the backlog",
            )
            visitor.sendall(said)
        found = ControlClient("compute-launcher", service.runtime_path).ask(
            "GET", "/health", timeout=5
        )
        assert found[1]["status"] in {"pass", "warn"} or stopped
        assert service.run_command("health").status in ({0, 1} if stopped else {0})
        answer = service.run_command("status")
        assert "workers serving" in answer.stdout, answer


def test_a_service_that_does_not_answer_is_told_from_one_that_does_not_run(
    service: Launcher,
) -> None:
    service.signal(signal.SIGSTOP)
    for command in ("health", "status"):
        answer = service.run_command(command)
        assert answer.status == 1, answer
        assert re.search("does not answer: timed out; its process exists", answer.stderr)
    service.signal(signal.SIGCONT)
    wait_until(lambda: service.run_command("health").status == 0, SOON, "it answers again")
    service.signal(signal.SIGKILL)
    service.wait()
    for command in ("health", "status"):
        answer = service.run_command(command)
        assert answer.status == 3, answer
        assert "is it running" in answer.stderr


def test_visitors_do_not_hold_up_the_monitor(service: Launcher) -> None:
    """Its last round is never older than the next one should be, and it repairs as ever."""
    over = threading.Event()

    def crowd() -> None:
        while not over.is_set():
            visit(str(service.runtime_path / CONTROL_SOCKET), b"GET /status HTTP/1.1\r\n\r\n")

    crowds = [threading.Thread(target=crowd, daemon=True) for _ in range(6)]
    for thread in crowds:
        thread.start()
    ages = [age_of_the_last_round(service) for _ in range(50)]
    since = len(service.output)
    os.kill(service.workers()[0], signal.SIGKILL)
    service.wait_for_line(" serving after ", since=since)
    over.set()
    for thread in crowds:
        thread.join(SOON)
    assert max(ages) < 2 * ROUND_SECONDS, ages


def age_of_the_last_round(service: Launcher) -> float:
    """As /health tells it."""
    asked = ControlClient("compute-launcher", service.runtime_path)
    found = asked.ask("GET", "/health", timeout=SOON)[1]
    last = datetime.fromisoformat(found["checks"]["workers:serving"][0]["time"])
    return (datetime.now(UTC) - last).total_seconds()


def scrape(service: Launcher, *words: str) -> dict[str, float]:
    """Samples by series."""
    text = curl(service, *(words or ("http://localhost/metrics",)))
    assert text.endswith("# EOF\n")
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_are_of_all_workers_and_outlive_them(service: Launcher) -> None:
    """Sums never fall, and who is replaced leaves neither files nor series behind."""
    calls = "launcher_call_duration_seconds_count[('method', 'echo')]"
    for _ in range(3):
        assert service.run_command("call", "echo", "value=1").status == 0
    files = set(service.runtime_path.iterdir()) | set(service.state_path.iterdir())
    before = scrape(service)
    assert before[calls] == 3
    assert before["launcher_ready[]"] == 1
    assert before["launcher_workers[('state', 'serving')]"] == 2
    assert service.run_command("reload").status == 0
    for pid in service.workers():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: all(w["restarts"] == 1 for w in status(service)["workers"]), SOON, "new")
    wait_until(lambda: status(service)["healthy"], SOON, "all serve")
    after = scrape(service)
    added = {name for name in after.keys() - before.keys() if "restarts" not in name}
    assert not {name for name in added if "slot" in name}
    assert after[calls] == 3
    assert after["launcher_worker_restarts_total[('reason', 'signal'), ('slot', '0')]"] == 1
    assert after["launcher_lead_changes_total[]"] >= before["launcher_lead_changes_total[]"]
    assert set(service.runtime_path.iterdir()) | set(service.state_path.iterdir()) == files


def test_metrics_are_told_on_a_port_if_one_is_configured_and_nothing_else(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    address = f"127.0.0.1:{port}"
    service = start("Traced", "--workers=1", config=FAST | {"metrics": {"listen": address}})
    service.wait_ready()
    answer = service.run_shell(f"curl --silent --fail http://{address}/metrics")
    assert "launcher_workers" in answer.stdout
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), SOON))
        answer = service.run_shell(f"curl --silent --fail -m 5 http://{address}/metrics")
        assert "launcher_workers" in answer.stdout
    silent = "curl --silent -o /dev/null -w '%{http_code}'"
    for path in ("status", "health", "reload"):
        refused = service.run_shell(f"{silent} http://{address}/{path}")
        assert refused.stdout == "404"
    (worker,) = service.workers()
    listening = {one.laddr.port for one in psutil.Process(worker).net_connections("tcp")}
    assert int(address.rpartition(":")[2]) not in listening
    other = start("Traced", "--workers=1", config={"metrics": {"listen": address}})
    assert other.wait() == 78
    told = f"option [metrics] listen: {address} cannot be listened on"
    assert told in other.output.splitlines()[-1]


def test_a_worker_says_in_full_what_it_is_doing(start: Start) -> None:
    service = start("Traced", "--workers=2", config=FAST)
    service.wait_ready()
    call = threading.Thread(
        target=service.run_command,
        args=("call", "slow_echo", "value=1", "until=done", "--worker=1", "--timeout=60"),
    )
    call.start()
    wait_until(lambda: trace(service)["slow_echo"] == 1, SOON, "a call is in hand")
    answer = service.run_command("status", "--report", "1")
    assert answer.status == 0, answer
    assert "slow_echo" in answer.stdout.partition("Calls in hand")[2]
    assert re.search(r"\bwait_for\b", answer.stdout)
    for section in ("Threads", "Configuration", "Board", "Periodic tasks"):
        assert section in answer.stdout
    assert "probe: " in answer.stdout
    assert re.search(r"transport_url\W+\*\*\*", answer.stdout)
    put(service, "done")
    call.join(SOON)
    assert service.run_command("status", "--report", "2").status == 1
    assert not list(service.runtime_path.glob("report.*"))


def test_reports_of_a_stopped_worker_keep_no_command_out(start: Start) -> None:
    """As many as there are places for commands: half of them are told to come again."""
    service = start("Traced", "--workers=2")
    service.wait_ready()
    stopped = status(service)["workers"][1]["pid"]
    os.kill(stopped, signal.SIGSTOP)
    with ThreadPoolExecutor(COMMANDS) as readers:
        asked = [readers.submit(report, service, 1) for _ in range(COMMANDS)]

        def refused() -> list[tuple[int, str]]:
            return [one.result() for one in asked if one.done()]

        wait_until(lambda: len(refused()) >= COMMANDS - REPORTS, SOON, "half of them are refused")
        assert set(refused()) == {(503, "too many reports are under way already")}
        assert service.run_command("status").status in {0, 1}
        done = service.run_command("restart-worker", "0")
        assert (done.status, done.stderr) == (0, ""), done
    os.kill(stopped, signal.SIGCONT)
    assert service.run_command("status", "--report", "1").status == 0


def report(service: Launcher, slot: int) -> tuple[int, str]:
    """Status and error of the answer."""
    asked = ControlClient("compute-launcher", service.runtime_path)
    status, answer = asked.ask("GET", f"/workers/{slot}/report", timeout=LATE)
    return status, answer.get("error", "")


def test_the_master_says_in_full_what_it_is_doing(service: Launcher) -> None:
    service.signal(signal.SIGUSR2)
    service.wait_for_line("Guru Meditation")
    service.wait_for_line("monitor.py", deadline=SOON)
    service.wait_for_line('"headline": "2/2 workers serving"')
    assert service.run_command("status").status == 0


def test_a_configuration_that_is_wrong_takes_nobody_the_answer(start: Start) -> None:
    """The service runs with what it read before: a probe must not end it for a slip of the pen.
    What is wrong is the master's to tell, so that everybody gets to know."""
    service = start("Traced", "--workers=1")
    service.wait_ready()
    place = f"runtime_path = {service.runtime_path}\n"
    elsewhere = {"RUNTIME_DIRECTORY": "", "XDG_RUNTIME_DIR": str(service.directory)}
    service.config_file.write_text(f"[DEFAULT]\n{place}workers = many\ndebug = maybe\n")
    assert service.run_command("health", env=elsewhere).status == 0
    assert service.run_command("status", env=elsewhere).status == 0
    reload = service.run_command("reload", env=elsewhere)
    assert reload.status == 1
    wrong = f"option debug in {service.config_file}: 'maybe' is neither true nor false"
    assert wrong in reload.stderr
    service.wait_for_line("reload failed, the old configuration stays in force: option debug in")


@pytest.mark.parametrize(
    ("option", "kind"), [("--config-file", "file"), ("--config-dir", "directory")]
)
def test_a_named_file_that_is_not_there_is_a_mistake(
    service: Launcher, option: str, kind: str
) -> None:
    """Also beside a service in the default directory: who names a file may mean another one."""
    assert service.run_shell('"$0" health').status == 0
    for words in ("status", "status --json", "health", "reload", "scale 3", "history", "ping"):
        answer = service.run_shell(f'"$0" {words} {option}=/nope.conf')
        assert (answer.status, answer.stdout) == (78, ""), words
        assert answer.stderr == (
            f"compute-launcher: error: configuration {kind} /nope.conf does not exist; name one "
            f"that does with {option}\n"
        )


def test_a_socket_that_was_removed_is_back_before_long(service: Launcher) -> None:
    (service.runtime_path / CONTROL_SOCKET).unlink()
    service.wait_for_line("control.sock was removed or replaced; it is made anew")
    assert service.run_command("status").status == 0


def test_a_master_that_is_stopped_holds_up_no_command(service: Launcher) -> None:
    os.kill(service.master(), signal.SIGSTOP)
    both = '"$0" scale 3 & first=$!; "$0" status --report 0; echo $?; wait $first; echo $?'
    answer = service.run_shell(both)
    os.kill(service.master(), signal.SIGCONT)
    assert answer.stdout.split() == ["1", "69"]
    assert answer.stderr.count("does not answer: timed out") == 2


@pytest.mark.parametrize("command", ["status", "status --json", "status --watch", "health"])
def test_an_answer_that_cannot_be_written_is_one_sentence(service: Launcher, command: str) -> None:
    answer = service.run_shell(f'"$0" {command} >/dev/full')
    assert (answer.status, answer.stderr.count("\n")) == (1, 1), answer
    assert "cannot be written to standard output: No space left" in answer.stderr

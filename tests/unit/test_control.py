"""The control socket under load and misuse; the functional test_control.py has its answers."""

import http.client
import json
import os
import resource
import select
import socket
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest

from launcher.cli import control_client
from launcher.cli.control_client import ControlClient, UnixConnection
from launcher.directories.locations import CONTROL_SOCKET
from launcher.errors import (
    DirectoryUnusable,
    NotAnswering,
    NotPermitted,
    OptionError,
    ServiceStopping,
)
from launcher.supervise.control import pending_clients
from launcher.supervise.control.http_server import CONNECTIONS
from launcher.supervise.control.listening import listening
from launcher.supervise.control.requests import Answer, SlowRequest
from launcher.supervise.control.router import COMMANDS, REPORTS
from launcher.supervise.control.routes import Routes
from launcher.supervise.control.sockets import SCRAPES, Control, TcpPort
from tests.support.descriptors import opened
from tests.support.directories import short_directory
from tests.support.waiting import elapse, wait_until

SOON = 10.0
LATE = 60.0  # on a machine that has much else to do
NOBODY = 65534  # uid
MUCH = 600_000  # bytes; more than a socket takes before anybody reads

Ask = Callable[[str, str], UnixConnection]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Commands wait until this event is set."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


@pytest.fixture
def door(directory: Path, gate: threading.Event) -> Iterator[Control]:
    def command(body: dict[str, Any]) -> Answer:
        assert gate.wait(SOON)
        return Answer.of({})

    def stumble(body: dict[str, Any]) -> Answer:
        raise ZeroDivisionError("a bug")

    door = Control(
        str(directory),
        {
            ("POST", "/command"): command,
            ("GET", "/report"): SlowRequest(command),
            ("GET", "/question"): lambda body: Answer.of({}),
            ("GET", "/health"): lambda body: Answer.of({}),
            ("GET", "/status"): lambda body: Answer.of({"much": "x" * MUCH}),
            ("GET", "/slow"): command,
            ("GET", "/bug"): stumble,
        },
    )
    door.start()
    yield door
    door.stop()


@pytest.fixture
def ask(door: Control, directory: Path) -> Iterator[Ask]:
    connections = []

    def ask(verb: str, path: str) -> UnixConnection:
        connections.append(UnixConnection(directory, SOON))
        connections[-1].connect()
        connections[-1].request(verb, path)
        return connections[-1]

    yield ask
    for connection in connections:
        connection.close()


def test_who_has_prepared_to_hand_on_needs_no_descriptor_for_it(
    door: Control, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    door.prepare_to_hand_on()
    assert ask("GET", "/question").answer()[0] == 200
    monkeypatch.setattr(socket, "socketpair", Mock(side_effect=OSError))
    door.prepare_to_hand_on()
    door.hand_on()
    wait_until(lambda: not door._retired, SOON, "it listens at another socket")


def test_a_new_master_that_fails_leaves_the_file_to_the_old_one(
    door: Control, directory: Path, ask: Ask
) -> None:
    """It has the socket already, but is not in charge yet: see HttpServer.listen_at."""
    other = Control(str(directory), {}, adopts=True)
    other.listen_at(door.socket.dup())
    (directory / CONTROL_SOCKET).rename(directory / "away")
    other.mend()
    assert not (directory / CONTROL_SOCKET).exists(), "to mend it is the old one's"
    (directory / "away").rename(directory / CONTROL_SOCKET)
    other.stop()
    assert ask("GET", "/question").answer()[0] == 200


def test_commands_that_last_keep_nobody_from_asking(ask: Ask, gate: threading.Event) -> None:
    """Not even when their clients have gone: the commands go on."""
    for _ in range(COMMANDS):
        ask("POST", "/command").close()

    def refused() -> bool:
        return ask("POST", "/command").answer()[0] == 503

    for _ in range(COMMANDS):
        gone = ask("POST", "/command")
        gone.close()
    wait_until(refused, SOON, "there is no room for another command")
    assert ask("GET", "/question").answer()[0] == 200
    gate.set()
    wait_until(lambda: ask("POST", "/command").answer()[0] == 200, SOON, "there is room again")


@pytest.mark.parametrize("wakes", [True, False])
def test_a_command_is_waited_for_as_long_as_the_master_answers(
    directory: Path, monkeypatch: pytest.MonkeyPatch, *, wakes: bool
) -> None:
    """A reload may take as long as it likes; a master that stands still is not waited for."""
    monkeypatch.setattr(control_client, "ANSWER_SECONDS", 0.3)
    over, asked = threading.Event(), Counter[str]()

    def health(body: dict[str, Any]) -> Answer:
        asked["health"] += 1
        if asked["health"] == 3:
            if wakes:
                over.set()
            assert over.wait(SOON)
        return Answer.of({})

    def command(body: dict[str, Any]) -> Answer:
        assert over.wait(SOON)
        return Answer.of({"done": True})

    master = Control(str(directory), {("GET", "/health"): health, ("POST", "/command"): command})
    master.start()
    try:
        client = ControlClient("compute-launcher", directory)
        if wakes:
            assert client.post("/command") == (200, {"done": True})
        else:
            with pytest.raises(NotAnswering, match="timed out"):
                client.post("/command")
        assert asked["health"] == 3
    finally:
        over.set()
        master.stop()


def test_a_command_in_hand_is_answered_before_the_sockets_are_gone(directory: Path) -> None:
    """The master ends after that: who waits would be told that the connection ended."""
    begun = threading.Event()

    def command(body: dict[str, Any]) -> Answer:
        begun.set()
        wait_until((lambda: not (directory / CONTROL_SOCKET).exists()), SOON, "the file is gone")
        raise ServiceStopping

    conf, routes = MagicMock(runtime_path=str(directory)), Mock(spec=Routes)
    conf.__getitem__.return_value.listen = ""
    routes.routes.return_value = {("POST", "/command"): command}
    connection = UnixConnection(directory, SOON)
    with listening(conf, routes, lambda *_: False) as (control, _):
        control.start()
        connection.connect()
        connection.request("POST", "/command")
        assert begun.wait(SOON)
    assert select.select([connection.sock], [], [], 0)[0], "the answer is there"
    status, content = connection.answer()
    connection.close()
    assert (status, json.loads(content)) == (500, {"error": str(ServiceStopping())})


def test_a_bug_is_logged_and_told(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    status, content = ask("GET", "/bug").answer()
    assert status == 500
    assert "a bug" in json.loads(content)["error"]
    assert "ZeroDivisionError" in caplog.text


def test_who_speaks_slowly_is_cut_off_however_often_a_byte_comes(
    door: Control, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_clients, "LINE_SECONDS", 0.2)
    monkeypatch.setattr(pending_clients, "HEAD_SECONDS", 0.2)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(directory / CONTROL_SOCKET))

        def cut_off() -> bool:
            try:
                client.send(b"x")
            except (BrokenPipeError, ConnectionResetError):
                return True
            return False

        wait_until(cut_off, SOON, "it is cut off", interval=0.05)


def test_a_fork_keeps_nothing_of_it(door: Control, ask: Ask, directory: Path) -> None:
    """Neither clients that are being answered, nor pending ones."""
    ask("POST", "/command")
    with connected(directory, 2):
        wait_until(lambda: sockets() == 4, SOON, "the clients are connected")
        own = [door.socket.fileno(), door._wakeup.fileno(), door._spare._descriptor]
        own += [connection.fileno() for connection in door._open]
        own.append(door._runtime._descriptor)
        assert len(own) == 7
        pid = os.fork()
        if pid == 0:
            door.close_in_child()
            os._exit(sockets() + sum(map(is_open, own)))
        assert os.waitpid(pid, 0)[1] == 0


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@contextmanager
def connected(directory: Path, number: int, said: bytes = b"") -> Iterator[list[socket.socket]]:
    """Connect `number` clients that send `said` and no more."""
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(number)]
        for client in clients:
            client.settimeout(SOON)
            while client.connect_ex(str(directory / CONTROL_SOCKET)):
                pass  # EAGAIN: the backlog is full
            client.sendall(said)
        yield clients


def answers_probes(directory: Path) -> None:
    """Probes are answered while the other clients are connected."""
    for path in ("/health", "/status"):
        status, _ = ControlClient("compute-launcher", directory).ask("GET", path, timeout=LATE)
        assert status == 200


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET /health HTT",
        b"GET /health HTTP/1.1\r\nHost:",
        b"GET /question HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
        b"GET /health HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
        b"POST /command HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
        b"POST /command HTTP/1.1\r\n\r\n",
        b"GET /report HTTP/1.1\r\n\r\n",
        b"GET /slow HTTP/1.1\r\n\r\n",
        b"GET /status HTTP/1.1\r\n\r\n",
    ],
    ids=lambda said: said.decode().replace("\r\n", "|").replace("/", "").replace(" ", "_"),
)
def test_no_crowd_takes_the_probes_away(door: Control, directory: Path, said: bytes) -> None:
    """Clients are idle, slow, read no answer, or send commands and reports that last."""
    with connected(directory, 40, said):
        answers_probes(directory)


def test_a_full_list_drops_its_oldest(door: Control, directory: Path) -> None:
    with connected(directory, 1) as oldest, connected(directory, pending_clients.PLACES):
        assert oldest[0].recv(1) == b"", "it is let go"
        answers_probes(directory)


def test_a_list_full_of_requests_drops_its_oldest_and_not_who_comes() -> None:
    """Nothing has been read of the new client yet: it must stay."""
    full = pending_clients.PendingClients()
    with ExitStack() as stack:

        def come() -> pending_clients.Client:
            ours, theirs = socket.socketpair()
            stack.enter_context(theirs)
            theirs.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
            return pending_clients.Client(stack.enter_context(ours), "", time.monotonic())

        clients = [come() for _ in range(pending_clients.PLACES)]
        for client in clients:
            assert full.add(client) is None
            client.read(time.monotonic())
        assert full.waiting() == clients
        newcomer = come()

        assert full.add(newcomer) is clients[0]
        assert full.find(newcomer.connection.fileno()) is newcomer
        assert len(full) == pending_clients.PLACES


def test_who_says_nothing_is_let_go_after_a_second(door: Control, directory: Path) -> None:
    with connected(directory, 1) as silent, connected(directory, 1, b"GET /health HTTP/1.1\r\n"):
        assert silent[0].recv(1) == b""


def test_a_report_counts_as_a_command(ask: Ask, gate: threading.Event) -> None:
    kinds = [("GET", "/report"), ("POST", "/command")]
    asked = [ask(*kinds[number % 2]) for number in range(COMMANDS + 2)]
    waiting = {one.sock: one for one in asked}
    refused: list[Any] = []
    while len(refused) < 2:
        ready, _, _ = select.select(list(waiting), [], [], SOON)
        assert ready, "nobody is refused"
        refused += [waiting.pop(one).answer()[0] for one in ready]
    assert refused == [503, 503]
    assert ask("GET", "/question").answer()[0] == 200


def test_reports_leave_room_for_commands(ask: Ask, gate: threading.Event) -> None:
    """Each report of a hanging worker lasts until the master gives up."""
    asked = [ask("GET", "/report") for _ in range(COMMANDS)]
    told = {one.sock: one for one in asked}
    refused: list[Any] = []
    while len(refused) < COMMANDS - REPORTS:
        ready, _, _ = select.select(list(told), [], [], SOON)
        assert ready, "nobody is refused"
        refused += [told.pop(one).answer() for one in ready]
    assert {status for status, _ in refused} == {503}
    assert json.loads(refused[0][1])["error"] == "too many reports are under way already"

    commands = [ask("POST", "/command") for _ in range(COMMANDS - REPORTS + 1)]
    waiting = {one.sock: one for one in commands}  # any of them may be the one too many
    ready, _, _ = select.select(list(waiting), [], [], SOON)
    ((_, one_more),) = [waiting.pop(one).answer() for one in ready]
    assert json.loads(one_more)["error"] == "too many commands are under way already"
    gate.set()
    assert {one.answer()[0] for one in (*waiting.values(), *told.values())} == {200}
    for _ in range(2 * COMMANDS):
        assert ask("GET", "/report").answer()[0] == 200, "no place is lost"


def test_who_waits_for_a_place_gets_it(ask: Ask, gate: threading.Event) -> None:
    """The request waits, and is answered when another one is done."""
    taken = [ask("GET", "/slow") for _ in range(CONNECTIONS)]
    more = ask("GET", "/slow")
    assert ask("GET", "/health").answer()[0] == 200  # so the others have been read
    gate.set()
    assert [one.answer()[0] for one in (*taken, more)] == [200] * (CONNECTIONS + 1)


def test_nothing_wakes_the_door_while_nobody_comes(door: Control, ask: Ask) -> None:
    """Not even after a request."""
    assert ask("GET", "/question").answer()[0] == 200
    *_, thread = (one for one in threading.enumerate() if one.name == "control")  # the newest
    switches = Path(f"/proc/self/task/{thread.native_id}/status")

    def times() -> str:
        return next(line for line in switches.read_text().splitlines() if line.startswith("vol"))

    def rests() -> bool:
        before = times()
        elapse(1.0)
        return times() == before

    wait_until(rests, SOON, "it rests")


def test_the_port_for_metrics_is_asked_beside_idle_clients() -> None:
    routes = {("GET", "/metrics"): lambda body: Answer.of({})}
    port = TcpPort("metrics", "127.0.0.1:0", routes, SCRAPES)
    port.start()
    address: Any = port.server_address
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(socket.create_connection(address[:2], SOON))
        connection = http.client.HTTPConnection("127.0.0.1", address[1], timeout=SOON)
        connection.request("GET", "/metrics")
        assert connection.getresponse().status == 200
        connection.close()
    port.stop()


def test_a_door_without_descriptors_answers_and_does_not_spin(
    door: Control, ask: Ask, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A spare descriptor is used first; then the server pauses, and logs that once."""
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(30)]
        take_freed = stack.enter_context(exhausted())
        client = clients.pop()
        client.settimeout(SOON)
        client.connect(str(directory / CONTROL_SOCKET))
        client.sendall(b"GET /health HTTP/1.1\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200"), "by the one in reserve"
        before = time.process_time()

        def complains() -> bool:
            take_freed()
            if "no connection can be accepted" not in caplog.text and clients:
                clients.pop().connect(str(directory / CONTROL_SOCKET))
            return "no connection can be accepted" in caplog.text

        wait_until(complains, SOON, "it complains")
        elapse(1.0)
        assert time.process_time() - before < 0.5, "seconds of processor time: it spins"
    assert caplog.text.count("no connection can be accepted") == 1
    assert ask("GET", "/question").answer()[0] == 200


@contextmanager
def exhausted() -> Iterator[Callable[[], None]]:
    """This process has no free descriptor. What is yielded takes those that are free again: what
    earlier tests have left may be closed at any moment."""
    taken = []
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(opened()) + 8, limit[1]))

    def take_freed() -> None:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))

    try:
        take_freed()
        yield take_freed
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


def test_who_may_not_ask_is_told_so(door: Control, directory: Path) -> None:
    """The error must not say that nothing runs: monitoring as a wrong user would alarm."""
    (directory / CONTROL_SOCKET).chmod(0)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        if os.geteuid() == 0:
            os.seteuid(NOBODY)
        try:
            ControlClient("compute-launcher", directory).ask("GET", "/question", timeout=SOON)
        except NotPermitted as error:
            os.write(write, f"{int(error.exit_status)} {error}".encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    said = os.read(read, 1000).decode()
    os.close(read)
    assert said.startswith("77 compute-launcher at ")
    assert "answers root and its own user, not uid" in said


def sockets() -> int:
    """Sockets of this process at the file: the listening one, and those of clients."""
    ours = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            ours.add(str(descriptor.readlink()))
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return sum(
        f"socket:[{line[6]}]" in ours for line in lines if line[-1].endswith(CONTROL_SOCKET)
    )


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "192.0.2.1:9464"])
def test_a_port_that_cannot_be_had_is_said_in_a_sentence(address: str) -> None:
    with pytest.raises(OptionError, match=rf"\[metrics\] listen: {address} cannot be listened on"):
        TcpPort("metrics", address, {}, SCRAPES)


def test_a_file_that_was_taken_away_is_made_anew(
    door: Control, ask: Ask, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The monitor creates it again; clients that are connected are still answered."""
    for spoil in (Path.unlink, replace_by_a_file, replace_by_a_link):
        spoil(directory / CONTROL_SOCKET)
        door.mend()
        assert stat.S_IMODE((directory / CONTROL_SOCKET).stat().st_mode) == 0o600
        for _ in range(3):
            assert ask("GET", "/question").answer()[0] == 200
    assert caplog.text.count("was removed or replaced; it is made anew") == 3
    wait_until(lambda: sockets() == 1, SOON, "nothing of the old ones is left")


def replace_by_a_file(path: Path) -> None:
    path.unlink()
    path.write_text("no socket")


def replace_by_a_link(path: Path) -> None:
    """A link to the socket itself: no client would follow it."""
    path.rename(path.with_name("moved.sock"))
    path.symlink_to("moved.sock")


def test_a_file_that_cannot_be_made_anew_is_complained_of_once(
    door: Control, ask: Ask, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (directory / CONTROL_SOCKET).unlink()
    (directory / CONTROL_SOCKET).mkdir()
    door.mend()
    door.mend()
    assert caplog.text.count("is lost and cannot be made anew: Is a directory") == 1
    (directory / CONTROL_SOCKET).rmdir()
    door.mend()
    assert ask("GET", "/question").answer()[0] == 200


def test_a_socket_that_cannot_be_made_is_said_in_a_sentence(directory: Path) -> None:
    (directory / CONTROL_SOCKET).mkdir()
    with pytest.raises(DirectoryUnusable, match=r"control\.sock in it: Is a directory"):
        Control(str(directory), {})


@pytest.mark.parametrize(
    ("request_", "status", "error"),
    [
        (b"GET /nothing HTTP/1.1", 404, "there is no /nothing"),
        (b"POST /question HTTP/1.1", 405, "/question is for GET, not POST"),
        (b"DELETE /question HTTP/1.1", 501, "Unsupported method ('DELETE')"),
        (b"GET /question HTTP/9.9", 505, "Invalid HTTP version (9.9)"),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1", 414, "URI Too Long"),
        (b"POST /command HTTP/1.1\r\nContent-Length: 1\r\n\r\n{", 400, "the body is not JSON: "),
        (b"POST /command HTTP/1.1\r\nContent-Length: -1", 400, "Content-Length '-1' is not"),
        (b"POST /command HTTP/1.1\r\nTransfer-Encoding: chunked", 400, "needs a Content-Length"),
    ],
)
def test_what_cannot_be_answered_is_told_why_in_json(
    door: Control, directory: Path, request_: bytes, status: int, error: str
) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(directory / CONTROL_SOCKET))
        client.sendall(request_ + b"\r\n\r\n")
        response = http.client.HTTPResponse(client)
        response.begin()
        assert response.status == status
        assert error in json.loads(response.read())["error"]


@pytest.mark.parametrize("path", ["/question?x=1", "http://localhost/question"])
def test_a_question_may_be_a_whole_url(ask: Ask, path: str) -> None:
    assert ask("GET", path).answer()[0] == 200

"""A RabbitMQ node of our own: private ports, private epmd, private files, nothing left behind.

The node that Debian's package starts on installation, on port 5672 and with epmd on 4369, is
neither used nor touched. RabbitMQ 4 runs in the root of a later Debian, which
`tests/setup/rabbitmq-root` makes. Commands go to the node through erl_call(1), which takes 20 ms
where rabbitmqctl takes a second; the functions called are the same in RabbitMQ 3.8 to 4.1.
"""

import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.certificates import certificate
from tests.support.directories import short_directory
from tests.support.traces import DIE_WITH_US, kill_traces
from tests.support.waiting import wait_until

OTHER = Path(root) if (root := os.environ.get("RABBITMQ_ROOT")) else None
IN_ROOT = Path(__file__).with_name("in_root.sh")
SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the script that starts as any user
LOCALHOST = "127.0.0.1"
USER = "launcher"
START_DEADLINE = 90.0  # seconds; 5 to 8 on an idle machine
STOP_DEADLINE = 30.0
COMMAND_DEADLINE = 30.0
# RabbitMQ 4.0 that denies a feature may not boot after a kill: it looks for the feature's use in a
# table that it has not opened yet. Its unit starts it again, and so do we.
LOOKED_TOO_EARLY = "failed_to_deny_deprecated_features"
BOOTS = 3
UNREACHED = "failed to connect to node"  # what erl_call says

CONFIGURATION = """\
listeners.tcp.1 = {host}:{port}
listeners.ssl.1 = {host}:{tls_port}
ssl_options.cacertfile = {tls.authority}
ssl_options.certfile = {tls.certificate}
ssl_options.keyfile = {tls.key}
default_user = {user}
default_pass = {password}
log.console = true
log.file = false
vm_memory_high_watermark.relative = 0.95
disk_free_limit.absolute = 1MB
"""
MEMBERSHIP = "cluster_formation.classic_config.nodes.1 = {name}\n"  # joined on the first start


def installed() -> bool:
    """Whether the Debian package rabbitmq-server is there."""
    return SERVER.exists()


@dataclass(frozen=True, slots=True)
class Vhost:
    """A virtual host that a test has for itself, and the node that it is on."""

    node: "RabbitNode"
    name: str

    @property
    def url(self) -> str:
        """For transport_url."""
        return self.url_of(f"{self.node.host}:{self.node.port}")

    def url_of(self, *addresses: str) -> str:
        """The same at other addresses, host:port each."""
        hosts = ",".join(f"{USER}:{self.node.password}@{address}" for address in addresses)
        return f"rabbit://{hosts}/{self.name}"

    def connections(self, pid: int | None = None) -> int:
        """How many oslo.messaging has, in one process or in all."""
        names = self.node.evaluate(
            'lists:flatten(lists:join(" ", [binary_to_list(N) '
            "|| C <- rabbit_networking:connections(), [{vhost, V}, {client_properties, P}] <- "
            # Some may close meanwhile.
            "[catch rabbit_networking:connection_info(C, [vhost, client_properties])], "
            f"V =:= {binary(self.name)}, {{{binary('connection_name')}, _, N}} <- P]))"
        ).strip('"[]')
        return sum(pid is None or f":{pid}:" in name for name in names.split())

    def queues(self) -> list[str]:
        """Their names."""
        names = self.node.evaluate(
            'lists:flatten(lists:join(" ", [binary_to_list(element(4, element(2, Q))) '
            f"|| Q <- rabbit_amqqueue:list({binary(self.name)})]))"
        )
        return sorted(names.strip('"[]').split())

    def messages(self, queue: str) -> tuple[int, int]:
        """Messages of a queue that wait, and that somebody has not acknowledged."""
        name = f"rabbit_misc:r({binary(self.name)}, queue, {binary(queue)})"
        text = self.node.evaluate(
            f"{{ok, Q}} = rabbit_amqqueue:lookup({name}), [{{_, R}}, {{_, U}}] = "
            "rabbit_amqqueue:info(Q, [messages_ready, messages_unacknowledged]), {R, U}"
        )
        ready, unacknowledged = text.strip().strip("{}").split(",")
        return int(ready), int(unacknowledged)


class RabbitNode:
    """One node; as a context manager it is started, and removed without a trace.

    `stop`, `kill`, `freeze` and `start` may be called in any order in between: vhosts, durable
    queues and users survive.
    """

    def __init__(
        self,
        beside: "RabbitNode | None" = None,
        *,
        root: Path | None = OTHER,
        options: str = "",
        host: str = LOCALHOST,
    ) -> None:
        """:param beside: whose cluster the new one joins; runs already, and longer.
        :param root: of the Debian whose RabbitMQ it is; None: this machine's. By default that of
            $RABBITMQ_ROOT, if it is set: all tests then run with another RabbitMQ.
        :param options: lines for rabbitmq.conf.
        :param host: the address for clients; the certificate names it.
        """
        self._beside = beside
        self._root = root
        self._options = options
        self.host = host

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.directory = stack.enter_context(short_directory("rabbit-"))
            stack.callback(kill_traces, None, [str(self.directory)])
            self.port, self.tls_port, self._distribution_port, self.epmd_port = free_ports(4)
            self.password = secrets.token_hex(8)
            self._cookie = secrets.token_hex(16)
            if self._beside is not None:
                self.epmd_port = self._beside.epmd_port
                self.password, self._cookie = self._beside.password, self._beside._cookie
            self._name = f"launcher-{os.getpid()}-{secrets.token_hex(4)}@localhost"
            self._lay_out()
            if self._beside is None:
                stack.enter_context(self._epmd())
            stack.callback(self.kill)
            self.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self) -> None:
        """Start the node, or thaw it, unless it runs; returns when it accepts connections."""
        if self.running:
            self._signal(signal.SIGCONT)
            return
        booted = any(self._boot() for _ in range(BOOTS))
        assert booted, f"RabbitMQ did not start:\n{self.log}"

    def _boot(self) -> bool:
        """Start the node's process; False if it has ended as LOOKED_TOO_EARLY says."""
        began = len(self.log)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*DIE_WITH_US, *self._in_root(), SERVER],
                env=self._environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

        def started() -> bool:
            running, said = self.running, self.log[began:]
            early = not running and LOOKED_TOO_EARLY in said
            assert running or early, f"RabbitMQ did not start:\n{said}"
            return early or "Server startup complete" in said

        wait_until(started, START_DEADLINE, "RabbitMQ has started", show=lambda: self.log[began:])
        return self.running

    def _in_root(self) -> list[str | Path]:
        """The command before another that runs it in the root."""
        if self._root is None:
            return []
        return ["unshare", "--mount", IN_ROOT, self._root, self.directory]

    @property
    def _home(self) -> str:
        """The node's directory, as the node sees it."""
        return str(self.directory) if self._root is None else "/mnt"

    def stop(self) -> None:
        """Shut the node down in good order: clients are told so."""
        self.evaluate("init:stop()")
        wait_until(lambda: not self.running, STOP_DEADLINE, "RabbitMQ has stopped")

    def kill(self) -> None:
        """End the node as a power cut does."""
        if self.running:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def freeze(self) -> None:
        """Stop it with its connections open: it answers nothing, until `start` thaws it."""
        self._signal(signal.SIGSTOP)

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    @property
    def running(self) -> bool:
        """Whether the node's process is there; it may be frozen."""
        return hasattr(self, "_process") and self._process.poll() is None

    @property
    def log(self) -> str:
        """What the node has written to its console since the first start."""
        return self._log.read_text(errors="replace")

    @contextmanager
    def vhost(self) -> Iterator[Vhost]:
        """A fresh virtual host; afterwards it is deleted, with all that is connected to it."""
        name = f"test-{secrets.token_hex(4)}"
        everything = ", ".join([binary(".*")] * 3)
        self.evaluate(
            f"ok = rabbit_vhost:add({binary(name)}, {binary(USER)}), "
            f"ok = rabbit_auth_backend_internal:set_permissions("
            f"{binary(USER)}, {binary(name)}, {everything}, {binary(USER)})"
        )
        try:
            yield Vhost(self, name)
        finally:
            self.start()
            self.evaluate(f"ok = rabbit_vhost:delete({binary(name)}, {binary(USER)})")

    @contextmanager
    def alarm(self, resource: str) -> Iterator[None]:
        """The node believes that `resource`, memory or disk, runs out: it blocks whoever
        publishes, until the block ends."""
        limit = f"{{resource_limit, {resource}, node()}}"
        self.evaluate(f"rabbit_alarm:set_alarm({{{limit}, []}})")
        try:
            yield
        finally:
            self.evaluate(f"rabbit_alarm:clear_alarm({limit})")

    def evaluate(self, erlang: str) -> str:
        """Have the node evaluate Erlang expressions, and return the value of the last."""
        answer = ""

        def connected() -> bool:
            nonlocal answer
            answer = self._erl_call(erlang)
            return UNREACHED not in answer  # a busy node may miss the handshake: nothing ran

        wait_until(connected, COMMAND_DEADLINE, "erl_call has reached RabbitMQ")
        assert answer.startswith("{ok, "), f"{erlang}: {answer}"
        return answer.removeprefix("{ok, ").removesuffix("}")

    def _erl_call(self, erlang: str) -> str:
        done = subprocess.run(
            ["erl_call", "-r", "-c", self._cookie, "-n", self._name, "-e"],
            env=self._environment,
            input=f"{erlang}.\n",
            capture_output=True,
            text=True,
            timeout=COMMAND_DEADLINE,
            check=False,
        )
        return f"{done.stdout}{done.stderr}".strip()

    @property
    def _log(self) -> Path:
        return self.directory / "console"

    @property
    def _environment(self) -> dict[str, str]:
        home = self._home
        return {
            "PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": home,
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": LOCALHOST,
            "ERL_CRASH_DUMP_BYTES": "0",
            "RABBITMQ_ALLOW_INPUT": "yes",  # the script becomes the node: one process to signal
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": f"{home}/rabbitmq",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home}/no-plugins",
            "RABBITMQ_MNESIA_BASE": f"{home}/mnesia",
            "RABBITMQ_LOG_BASE": f"{home}/log",
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-noinput -setcookie {self._cookie}",
        }

    def _lay_out(self) -> None:
        self.tls = certificate(self.directory, self.host)
        text = CONFIGURATION.format(
            host=self.host,
            port=self.port,
            tls_port=self.tls_port,
            tls=self.tls,
            user=USER,
            password=self.password,
        )
        if self._beside is not None:
            text += MEMBERSHIP.format(name=self._beside._name)
        text = text.replace(str(self.directory), self._home) + self._options
        Path(self.directory, "rabbitmq.conf").write_text(text)
        self._log.touch()

    @contextmanager
    def _epmd(self) -> Iterator[None]:
        """The port mapper in the foreground: one that the node had to start would outlive it."""
        command = [*DIE_WITH_US, "epmd", "-port", str(self.epmd_port), "-address", LOCALHOST]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(command, cwd=self.directory, stdout=quiet, stderr=quiet) as epmd:
            try:
                wait_until(lambda: listens(self.epmd_port), COMMAND_DEADLINE, "epmd listens")
                yield
            finally:
                epmd.kill()

    def _signal(self, number: signal.Signals) -> None:
        os.killpg(self._process.pid, number)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody uses at the moment, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((LOCALHOST, 0))
        return [one.getsockname()[1] for one in sockets]


def listens(port: int) -> bool:
    """Whether something on this machine accepts connections on `port`."""
    with socket.socket() as client:
        return client.connect_ex((LOCALHOST, port)) == 0


def binary(text: str) -> str:
    """An Erlang binary."""
    return f'<<"{text}">>'

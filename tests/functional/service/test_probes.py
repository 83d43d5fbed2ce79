"""The probes of containers tell liveness from start and from readiness."""

import json
import os
import signal
import socket
import threading
from pathlib import Path

import psutil
import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import BACK_SECONDS, FAST, RABBIT, status, with_options
from tests.functional.service.traces import put, trace
from tests.support.processes import Launcher
from tests.support.rabbitmq import Vhost
from tests.support.waiting import wait_until

SOON = 30.0
ONE = "--workers=1"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


def passing(service: Launcher) -> list[str]:
    """The probes that pass, by their commands."""
    flags = ("--live", "--started", "--ready")
    return [flag for flag in flags if service.run_command("health", flag).status == 0]


@pytest.mark.usefixtures("transport")
def test_a_service_is_alive_then_also_ready_and_in_a_drain_no_longer_ready(start: Start) -> None:
    service = start("Held", "--workers=2", config=FAST)
    service.wait_for_line("worker=0 .*serving after")
    assert passing(service) == ["--live"]
    put(service, "go")
    service.wait_ready()
    assert passing(service) == ["--live", "--started", "--ready"]
    words = ("call", "slow_echo", "value=1", "until=done", "--timeout=60")
    caller = threading.Thread(target=service.run_command, args=words)
    caller.start()
    wait_until(lambda: trace(service)["slow_echo"] == 1, SOON, "a call is in hand")
    service.signal(signal.SIGTERM)
    service.wait_for_line("stopping: SIGTERM")
    assert passing(service) == ["--live", "--started"]
    put(service, "done")
    assert service.wait() == 0
    caller.join(SOON)


def test_a_service_without_its_broker_is_alive_and_not_ready(start: Start, rabbit: Vhost) -> None:
    config = with_options(
        DEFAULT={"transport_url": rabbit.url}, oslo_messaging_rabbit=dict(RABBIT)
    )
    service = start("Traced", "--workers=2", config=config)
    service.wait_ready()
    rabbit.node.stop()
    wait_until(lambda: "--ready" not in passing(service), SOON, "it is not ready")
    assert passing(service) == ["--live", "--started"]
    told = service.run_command("health", "--ready", "--json")
    assert json.loads(told.stdout)["checks"]["workers"]["status"] == "fail"
    rabbit.node.start()
    wait_until(lambda: "--ready" in passing(service), BACK_SECONDS, "it is ready again")


def test_the_port_answers_the_probes_and_nothing_else_and_no_worker_has_it(start: Start) -> None:
    port = free_port()
    address = f"127.0.0.1:{port}"
    service = start("Traced", ONE, config=with_options(health={"listen": address}))
    service.wait_ready()
    curl = "curl --silent -o /dev/null -w '%{http_code}'"
    for path in ("livez", "startupz", "readyz", "readyz?verbose"):
        assert service.run_shell(f"{curl} 'http://{address}/{path}'").stdout == "200"
    for path in ("health", "status", "metrics", "reload", ""):
        assert service.run_shell(f"{curl} http://{address}/{path}").stdout == "404"
    told = service.run_shell(f"curl --silent 'http://{address}/readyz?verbose'").stdout
    assert set(json.loads(told)["checks"]) == {"rounds", "start", "stop", "workers"}
    (worker,) = service.workers()
    service.run_command("restart-worker", "0")
    for pid in {worker, *service.workers()} & set(psutil.pids()):
        assert port not in {one.laddr.port for one in psutil.Process(pid).net_connections("tcp")}
    other = start("Traced", ONE, config=with_options(health={"listen": address}))
    assert other.wait() == 78
    assert "option [health] listen: " in other.output.splitlines()[-1]


def test_the_time_of_a_file_says_that_the_master_lives(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "alive"
    service = start("Traced", ONE, config=with_options(health={"touch_file": path}))
    service.wait_ready()

    def renewed() -> bool:
        os.utime(path, (1, 1))
        wait_until(lambda: path.stat().st_mtime > 1, SOON, "it is touched")
        return True

    assert renewed()
    path.unlink()
    wait_until(path.exists, SOON, "it is made again")
    service.signal(signal.SIGSTOP)
    os.utime(path, (1, 1))
    assert path.stat().st_mtime == 1
    service.signal(signal.SIGCONT)
    assert renewed()
    assert status(service)["healthy"]


@pytest.mark.parametrize("path", ["alive", "/proc/none/alive"])
def test_a_file_that_cannot_be_is_an_operators_mistake(start: Start, path: str) -> None:
    service = start("Traced", ONE, config=with_options(health={"touch_file": path}))
    assert service.wait() == 78
    assert "[health] touch_file" in service.output.splitlines()[-1]

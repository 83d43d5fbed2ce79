"""The image in a real container: no capabilities, a read-only root, one directory to write."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.image.oci import Image, unpacked
from tests.image.runtime import Running, container
from tests.support import cgroups
from tests.support.waiting import wait_until

ARCHIVE = Path(__file__).parents[2] / "dist" / "compute-launcher.oci.tar"
PRIVILEGES = {
    "CapPrm:\t0000000000000000",
    "CapEff:\t0000000000000000",
    "CapBnd:\t0000000000000000",
    "NoNewPrivs:\t1",
    "Seccomp:\t2",
}
READY = "ready: 2/2 workers serving"
SOON = 20.0
MEMORY_BYTES = 200 << 20  # for a master and two workers, and not for one that eats
TWO = {"OS_DEFAULT__WORKERS": "2"}

Run = Callable[..., AbstractContextManager[Running]]


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    assert ARCHIVE.exists(), "make image builds it"
    return unpacked(ARCHIVE, tmp_path_factory.mktemp("image"))


@pytest.fixture
def run(image: Image, tmp_path: Path) -> Run:
    """`with run("--workers=1", env={…}) as service`."""

    def started(*words: str, env: dict[str, str] | None = None, **more: Any) -> Any:
        return container(image, tmp_path / "bundle", *words, env=TWO | (env or {}), **more)

    return started


@pytest.fixture
def service(run: Run) -> Iterator[Running]:
    with run() as running:
        running.wait_for(READY)
        yield running


def test_it_needs_no_privilege_and_writes_in_one_directory_only(service: Running) -> None:
    status = Path(f"/proc/{service.pid}/status").read_text().splitlines()
    assert set(status) >= PRIVILEGES
    assert next(line for line in status if line.startswith("Uid:")).split()[1] == "64640"
    refused = service.run("touch", "/opt/compute-launcher/new", "/etc/new", "/tmp/new", "/new")
    assert refused.stderr.count("Read-only file system") == 4, refused.stderr
    assert service.run("touch", "/var/lib/compute-launcher/new").returncode == 0


def test_probes_and_commands_answer(service: Running) -> None:
    for words in (("health", "--live"), ("health", "--started"), ("health", "--ready"), ("ping",)):
        done = service.run("compute-launcher", *words)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "2/2 workers serving" in service.run("compute-launcher", "status").stdout


def test_as_pid_1_it_reaps_the_orphans_of_others(service: Running) -> None:
    first = psutil.Process(service.pid)
    workers = len(first.children())
    for _ in range(5):
        service.run("sh", "-c", "sleep 600 >/dev/null 2>&1 &")

    def orphans() -> list[psutil.Process]:
        return [child for child in first.children() if child.name() == "sleep"]

    wait_until(lambda: len(orphans()) == 5, SOON, "all are children of PID 1")
    for orphan in orphans():
        os.kill(orphan.pid, signal.SIGKILL)
    wait_until(lambda: len(first.children()) == workers, SOON, "there is no zombie")


def test_a_killed_worker_is_replaced(service: Running) -> None:
    victim = psutil.Process(service.pid).children()[0]
    since = len(service.output)
    victim.kill()
    service.wait_for("ended: killed by SIGKILL", since)
    service.wait_for("serving after", since)


@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_a_signal_stops_it_with_status_0(service: Running, name: str) -> None:
    service.signal(name)
    assert service.status() == 0
    assert f"stopping: SIG{name} received" in service.output


def test_a_wrong_configuration_ends_the_container_with_78_and_one_line(run: Run) -> None:
    with run(env={"OS_DEFAULT__START_TIMEOUT": "none"}) as service:
        assert service.status() == 78
        assert "start_timeout" in service.output
        assert len(service.output.splitlines()) == 1, service.output


def test_a_volume_of_roots_that_anybody_may_write_to_is_refused(run: Run) -> None:
    """As Kubernetes makes an `emptyDir`. The sentence tells the way out of the next test."""
    with run(volume=("mode=0777",)) as service:
        assert service.status() == 78
        assert "/var/lib/compute-launcher (mode 0777)" in service.output
        assert "chmod +t" in service.output
        assert service.output.count("error: ") == 1, service.output


def test_a_volume_of_roots_with_the_sticky_bit_does(run: Run) -> None:
    with run(volume=("mode=1777",)) as service:
        service.wait_for(READY)
        service.signal("TERM")
        assert service.status() == 0


def test_a_worker_killed_for_memory_is_replaced_said_and_counted(run: Run) -> None:
    if reason := cgroups.why_not("memory"):
        pytest.skip(reason)
    with run(env={"OS_DEFAULT__MANAGER": "managers:Hungry"}, memory=MEMORY_BYTES) as service:
        service.wait_for(READY)
        since = len(service.output)
        eater = service.run("compute-launcher", "call", "eat")
        assert eater.returncode == 0, eater.stderr
        service.wait_for("killed by the kernel for want of memory", since)
        service.wait_for(f"pid {eater.stdout.strip()} ended", since)
        wait_until(lambda: serving(service), SOON, "2/2 workers serve again")
        assert "killed by the kernel for want of memory" in history(service)
        service.signal("TERM")
        assert service.status() == 0


def serving(service: Running) -> bool:
    return "2/2 workers serving" in service.run("compute-launcher", "status").stdout


def history(service: Running) -> str:
    return service.run("compute-launcher", "history").stdout

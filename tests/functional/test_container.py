"""The service as a container runs it: PID 1, a plain user's, without capabilities or network, on a
read-only root with one directory that can be written."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.functional.conftest import Launch
from tests.support.processes import Launcher
from tests.support.users import ALICE, as_user, needs_root
from tests.support.waiting import wait_until

pytestmark = needs_root
SCRIPT = f"""
directory=$(dirname "$STATE_DIRECTORY")
export TMPDIR="$directory"
mount -t tmpfs -o mode=0700,uid={ALICE},gid={ALICE} tmpfs "$directory"
mount -t proc proc /proc
mount -o remount,bind,ro /
cd /
exec "$0" "$1" {ALICE} "$directory" setpriv --no-new-privs "$0" -P -m launcher --workers=1
"""
CONTAINER = ("unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "sh", "-e", "-c")
COMMAND = (*CONTAINER, SCRIPT, *as_user(ALICE, Path("/"))[:2])
PRIVILEGES = {"CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"}
SOON = 20.0


def first_process(service: Launcher) -> psutil.Process:
    """PID 1, as it is seen from outside."""
    (process,) = psutil.Process(service.pid).children()
    return process


def enter(
    service: Launcher, process: psutil.Process, *command: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command beside it, as `podman exec` does."""
    words = ["nsenter", f"--target={process.pid}", "--mount", "--pid", "--net", *command]
    return subprocess.run(
        words, env=service.environment, capture_output=True, text=True, check=False
    )


def test_it_reaps_foreign_orphans_answers_probes_and_stops(launch: Launch) -> None:
    service = launch(command=COMMAND)
    service.wait_ready()
    first = first_process(service)
    assert set(Path(f"/proc/{first.pid}/status").read_text().splitlines()) >= PRIVILEGES
    user = as_user(ALICE, service.directory)
    probe = enter(service, first, *user, sys.executable, "-P", "-m", "launcher", "health")
    assert probe.returncode == 0, probe.stdout + probe.stderr
    bare = enter(service, first, *user, "env", "-i", sys.executable, "-m", "launcher", "health")
    assert (bare.returncode, len(bare.stderr.splitlines())) == (3, 1), bare.stderr
    for _ in range(5):
        enter(service, first, "sh", "-c", "sleep 600 >/dev/null 2>&1 &")

    def orphans() -> list[psutil.Process]:
        return [child for child in first.children() if child.name() == "sleep"]

    wait_until(lambda: len(orphans()) == 5, SOON, "all are children of PID 1")
    for orphan in orphans():
        os.kill(orphan.pid, signal.SIGKILL)

    wait_until(lambda: len(first.children()) == 1, SOON, "only the worker is left, and no zombie")
    os.kill(first.pid, signal.SIGTERM)
    assert service.wait() == 0


def test_a_wrong_configuration_ends_the_container_with_78(launch: Launch) -> None:
    service = launch(command=COMMAND, env={"OS_DEFAULT__START_TIMEOUT": "none"})
    assert service.wait() == 78
    assert "start_timeout" in service.output

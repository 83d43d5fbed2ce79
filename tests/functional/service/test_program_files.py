"""The configuration files of a foreign program: read in a reload, and kept for later workers."""

import os
import shutil
import signal

import pytest

from tests.functional.service.faults import workers
from tests.functional.service.foreign import SOON, Call, Run, Theirs, answerers
from tests.support.processes import Launcher
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)


def replace_a_worker(service: Launcher) -> None:
    """Kill one; wait until another one serves."""
    *_, last = before = [worker["pid"] for worker in workers(service)]
    os.kill(last, signal.SIGKILL)
    wait_until(
        lambda: (
            {worker["state"] for worker in workers(service)} == {"serving"}
            and [worker["pid"] for worker in workers(service)] != before
        ),
        SOON,
        "another one serves",
    )


def test_a_configuration_that_the_program_refuses(run: Run, call: Call, theirs: Theirs) -> None:
    """The old workers stay. A worker that dies meanwhile is replaced by one with copies of the
    files as they were; a reload that succeeds puts the files in force again."""
    service = run("oslo_program", "--workers=2")
    service.wait_ready()
    before = {worker["pid"] for worker in workers(service)}
    theirs.set(workers="many", word="new")
    for _ in range(2):
        answer = service.run_command("reload")
        assert answer.status == 1
        assert "workers" in answer.stderr
    assert {worker["pid"] for worker in workers(service)} == before
    assert answerers(call, 2) == before
    replace_a_worker(service)
    answerers(call, 2)
    assert call("tell")[1] == "old"
    theirs.set(workers=1)
    assert service.run_command("reload").status == 0
    assert call("tell")[1] == "new"
    theirs.set(word="newer")  # not in force
    assert service.run_command("restart-worker", "0").status == 0
    assert answerers(call, 2) == {worker["pid"] for worker in workers(service)}
    assert call("tell")[1] == "new"


def test_files_that_are_removed_from_a_directory(run: Run, call: Call, theirs: Theirs) -> None:
    """They are in force until a reload. A reload that fails keeps them in force."""
    directory = theirs.path.with_name("conf.d")
    directory.mkdir()
    theirs.path = theirs.path.rename(directory / "10-program.conf")
    word = directory / "20-word.conf"
    word.write_text("[DEFAULT]\nword = second\n")
    service = run("oslo_program", "--workers=1", arguments=(f"--config-dir={directory}",))
    service.wait_ready()
    word.unlink()
    replace_a_worker(service)
    assert call("tell")[1] == "second"
    assert service.run_command("reload").status == 0
    assert call("tell")[1] == "old"
    shutil.rmtree(directory)
    answer = service.run_command("reload")
    assert answer.status == 1
    assert f"Failed to read config file directory: {directory}" in answer.stderr
    replace_a_worker(service)
    assert call("tell")[1] == "old"

"""A log in a file, as text and as JSON. It is renamed under the service, as logrotate does it: no
line is lost, and master and all workers write the new one."""

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import FAST, status, workers
from tests.support.callers import KEY, Call, Callers
from tests.support.growing import whole_lines
from tests.support.waiting import wait_until

SOON = 30.0

pytestmark = pytest.mark.timeout(300)

Line = dict[str, Any]


def of_text(line: str) -> Line:
    found = re.match(r"\S+ \S+ \w+ +\S+ (master(?: pid=\d+)?|worker=\d+ pid=\d+) (.*)", line)
    assert found, line
    return {"actor": found[1], "message": found[2]}


def of_json(line: str) -> Line:
    found = json.loads(line)
    return {"actor": found["extra"]["actor"], "message": found["message"]}


@pytest.mark.parametrize("read", [of_text, of_json], ids=["text", "json"])
def test_a_log_that_is_renamed_goes_on_in_a_new_file(
    start: Start, tmp_path: Path, read: Callable[[str], Line]
) -> None:
    current = tmp_path / "service.log"
    options = {"log_file": str(current), "use_json": str(read is of_json)}
    service = start("Logging", "--workers=2", "--host=node-1", config=FAST | {"DEFAULT": options})
    wait_until(lambda: service.run_command("health", "--ready").status == 0, SOON, "it is ready")

    def lines(path: Path = current) -> list[Line]:
        return [read(line) for line in whole_lines(path) if line[0] != "|"]

    def writers() -> set[str]:
        said = [line["actor"] for line in lines() if line["message"].startswith("said ")]
        return {actor.split()[0] for actor in said}

    def rename(number: int) -> None:
        current.rename(tmp_path / f"service.log.{number}")
        wait_until(lambda: current.exists() and len(writers()) == 2, SOON, "both write anew")

    call = Call("say", server="node-1", arguments={"key": KEY})
    with Callers(f"unix://{service.runtime_path}/bus", calls=[call], threads=4) as callers:
        wait_until(lambda: len(writers()) == 2, SOON, "both write")
        rename(1)
        assert service.run_command("reload").status == 0
        rename(2)
        os.kill(workers(service)[1]["pid"], signal.SIGKILL)
        wait_until(lambda: workers(service)[1]["restarts"] == 1, SOON, "it is replaced")
        rename(3)
        assert service.run_command("upgrade").status == 0
        upgraded = status(service)["pid"]
        rename(4)
        tally = callers.end()
    assert not tally.failed
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    everything = [line for path in tmp_path.glob("service.log*") for line in lines(path)]
    said = Counter(
        line["message"].removeprefix("said ")
        for line in everything
        if line["message"].startswith("said ")
    )
    assert not set(tally.answered) - set(said), "lines are lost"
    assert {line["actor"].split()[0] for line in everything} >= {"master", "worker=0", "worker=1"}
    assert any(line["message"] == "ready: 2/2 workers serving" for line in everything)
    by = {line["actor"] for line in everything if "takes over from" in line["message"]}
    assert by == {f"master pid={upgraded}"}, "the master before writes this log, too"


def test_a_log_that_each_process_would_rotate_is_refused(start: Start, tmp_path: Path) -> None:
    options = {"log_file": str(tmp_path / "service.log"), "log_rotation_type": "size"}
    service = start("Traced", config={"DEFAULT": options})
    assert service.wait() == 78
    (line,) = service.output.splitlines()
    assert "log_rotation_type" in line
    assert "logrotate" in line
    answer = service.run_command("config", "check")
    assert (answer.status, answer.stderr.count("\n")) == (78, 1)

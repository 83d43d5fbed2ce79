"""What etc/ has for Prometheus and Grafana fits what /metrics tells; promtool checks the rules."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from launcher.board.counters import CALL, TASK, Sample
from launcher.supervise.control.metrics import Facts, expose
from launcher.supervise.watch.health import assess
from launcher.supervise.watch.observation import Observation

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "etc/prometheus/alerts.yaml"
DASHBOARD = ROOT / "etc/grafana/launcher.json"
RULES_OF_ALERTS = Path(__file__).with_name("alerts.test.yaml")


@pytest.fixture(scope="module")
def promtool() -> str:
    """Where `make test` has put it, or where the machine has it."""
    ours = Path(sys.prefix, "promtool", "promtool")
    found = str(ours) if ours.exists() else shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool")
    return found


def run(promtool: str, *words: str | Path) -> None:
    """It has to succeed."""
    done = subprocess.run(
        [promtool, *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def expressions() -> Iterator[str]:
    """Of the dashboard, with values in the place of Grafana's variables."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")


def names() -> set[str]:
    """Of all series that there can be."""
    seen = Observation(datetime.now(UTC), 1, (), assess([], 1), was_ready=True)
    one = Sample(again=1)
    text, _ = expose(
        Facts(
            binary="compute-launcher",
            seen=seen,
            counted={(CALL, "work"): one, (TASK, "report"): one},
            restarts={(0, "signal"): 1},
            lead_changes=1,
            ready_seconds=1.0,
            immortal_objects=1,
        )
    )
    told = set(re.findall(r"^(launcher_\w+)", text.decode(), re.MULTILINE))
    return told | set(re.findall(r"^# TYPE (launcher_\w+) gauge", text.decode(), re.MULTILINE))


@pytest.mark.parametrize("source", [ALERTS, DASHBOARD], ids=["alerts", "dashboard"])
def test_no_series_is_asked_for_that_nobody_tells(source: Path) -> None:
    asked = set(re.findall(r"\blauncher_\w+", source.read_text()))
    assert len(asked) > 5
    assert asked - names() == set()


def test_the_rules_are_right_and_raise_what_they_should(promtool: str) -> None:
    run(promtool, "check", "rules", ALERTS)
    run(promtool, "test", "rules", RULES_OF_ALERTS)


def test_the_expressions_of_the_dashboard_are_right(promtool: str, tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression}
        for number, expression in enumerate(expressions())
    ]
    assert len(rules) > 10
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    run(promtool, "check", "rules", file)


def test_what_is_told_is_good_to_read_for_prometheus(promtool: str) -> None:
    """The rules of the field for names and help."""
    text = "\n".join(
        f"# HELP {name} x\n# TYPE {name} gauge\n{name} 1"
        for name in sorted(names())
        if not re.search(r"_(total|count|sum|bucket|info)$", name)
    )
    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=text + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

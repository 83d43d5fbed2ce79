"""The man pages in etc/man are what `make man` makes, and hold what the program knows."""

import re
from functools import cache

import pytest

from etc.man import generate as pages
from launcher import blocked_signals
from launcher.board.states import Step, WorkerState
from launcher.cli import commands, registry_commands
from launcher.config.options import GROUPS
from launcher.errors import ExitStatus
from tests.unit.test_health import slot
from tests.unit.test_metrics import scrape_text

COMMANDS, CONFIGURATION, CONCEPTS = pages.NAMES
SECTIONS = {
    COMMANDS: [
        *("NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "OPTIONS", "EXIT STATUS", "SIGNALS"),
        *("ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO"),
    ],
    CONFIGURATION: [
        *("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "FILES", "EXAMPLES", "SEE ALSO"),
    ],
    CONCEPTS: [
        *("NAME", "DESCRIPTION", "START AND READINESS", "STATES", "LATE WORKERS AND DEATHS"),
        *(
            "SPARES",
            "CALLS",
            "REDELIVERY",
            "DRAIN",
            "RELOAD AND SCALING",
            "STATUS",
            "CONTROL SOCKET",
        ),
        *("HEALTH", "METRICS", "RABBITMQ", "DATABASES", "FLEET", "CONDUCTOR"),
        *("MANAGERS", "FOREIGN PROGRAMS", "RUNNING OPENSTACK SERVICES"),
        *("DEVELOPMENT", "SYSTEMD"),
        *("DIRECTORIES", "LOG", "TRACING", "DEBUGGING", "SEE ALSO"),
    ],
}
REQUESTS = {
    *("TH", "SH", "SS", "PP", "TP", "IP", "RS", "RE", "EX", "EE"),
    *("B", "I", "BR", "IR", "RB", "ad", "br", "in", "nh", "nr"),
}
ESCAPES = r"\\(f[BIR]|-|e|&|:|\((aq|ga|ha|ti))"


@cache
def page(name: str) -> str:
    return pages.make_page(name)


def section(name: str, heading: str) -> str:
    """The text below a heading, without escapes."""
    found = re.search(
        rf"^\.SH {heading}\n(.*?)(?=^\.SH |\Z)", page(name), re.DOTALL | re.MULTILINE
    )
    assert found
    return re.sub(r"\\(f[BIR]|:)", "", found[1]).replace(r"\-", "-")


@pytest.mark.parametrize("name", pages.NAMES)
def test_page_is_fresh(name: str) -> None:
    """Mend with: make man"""
    assert (pages.PAGES / name).read_text(encoding="utf-8") == page(name)


@pytest.mark.parametrize("name", pages.NAMES)
def test_page_has_its_sections(name: str) -> None:
    assert re.findall(r"^\.SH (.+)$", page(name), re.MULTILINE) == SECTIONS[name]


@pytest.mark.parametrize("name", pages.NAMES)
def test_page_is_well_formed(name: str) -> None:
    """As far as it can be told without groff: what goes wrong silently in any formatter."""
    lines = [line for line in page(name).splitlines() if not line.startswith(r".\"")]
    requests = [line[1:].split()[0] for line in lines if line.startswith(".")]
    assert set(requests) <= REQUESTS
    assert requests.count("RS") == requests.count("RE")
    assert requests.count("EX") == requests.count("EE")
    assert page(name).isascii()
    for line in lines:
        assert line.rstrip() == line, line
        assert not line.startswith("'")  # a request as well
        assert "\\" not in re.sub(ESCAPES, "", line), line
        assert not re.search(r"@[A-Z]+@|%\(", line), line  # a place that nobody has filled in


OTHERS = ("config sample", "completion")


def test_every_command_is_told_with_its_options() -> None:
    text = section(COMMANDS, "COMMANDS")
    for command in [
        *commands.COMMANDS,
        *registry_commands.COMMANDS,
        *commands.CONTROL,
        "config sample",
        "completion",
    ]:
        assert re.search(rf"^{command}( |$)", text, re.MULTILINE), command
    assert "\nstatus [--json | --watch | --report SLOT]\n" in text
    assert "\nping [--count N] [--worker SLOT] [--timeout SECONDS]\n" in text
    assert "\ncall METHOD [name=value ...] [--worker SLOT] [--timeout SECONDS]\n" in text
    assert "\nservices disable [--binary BINARY] [--reason REASON]\n" in text
    assert "\ncompletion bash|zsh|tcsh\n" in text
    assert "--debug" not in text
    assert "\n--config-file FILE\n" in section(COMMANDS, "OPTIONS")
    assert "\n-h, --help\n" in section(COMMANDS, "OPTIONS")


def test_every_exit_status_and_signal_is_told() -> None:
    told = re.findall(r"^\.B (\d+)$", section(COMMANDS, "EXIT STATUS"), re.MULTILINE)
    assert [int(number) for number in told] == sorted(ExitStatus)
    assert {one.name for one in blocked_signals.TAKEN} <= set(
        re.findall(r"SIG\w+", section(COMMANDS, "SIGNALS"))
    )


def test_every_option_is_told_with_its_facts() -> None:
    text = section(CONFIGURATION, "OPTIONS")
    for group, options in GROUPS.items():
        assert f"\n.SS [{group or 'DEFAULT'}]\n" in f"\n{text}"
        for option in options:
            assert f"\n{option.dest} (" in text
    assert "\nworkers (integer, 1 to 400, mutable)\n" in text
    assert "\nDefault: <processors available>.\n" in text
    assert "\nconnection (string, secret)\n" in text
    assert "\nprobe_timeout (floating point, 0.1 to 86400)\n" in text
    assert (
        "\nperiodic_enable (boolean)\nRun the manager\\(aqs periodic tasks.\nDefault: true.\n"
        in text
    )
    assert "None" not in text


def test_every_step_and_state_is_told() -> None:
    steps = [step.label for step in Step if step is not Step.DONE]
    assert f"walks these steps: {', '.join(steps)}." in " ".join(
        section(CONCEPTS, "START AND READINESS").split()
    )
    told = re.findall(r"^\.TP\n([A-Z]+)$", section(CONCEPTS, "STATES"), re.MULTILINE)
    assert told == [state.name for state in WorkerState]


def test_every_metric_is_told() -> None:
    families = re.findall(r"^# TYPE (\S+) (\S+)$", scrape_text(slot(0)), re.MULTILINE)
    suffix = {"counter": "_total"}
    names = {f"{name}{suffix.get(kind, '')}" for name, kind in families}
    assert names == set(re.findall(r"\blauncher_\w+", section(CONCEPTS, "METRICS")))


def test_text_is_printed_as_it_is() -> None:
    assert pages.escape(r".x '~' a-b \n") == r"\&.x \(aq\(ti\(aq a\-b \en"

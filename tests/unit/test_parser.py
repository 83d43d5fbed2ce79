"""The grammar of the command line, as tables."""

import argparse
from functools import cache
from typing import Any

import pytest
import shtab

from launcher.cli import parser
from launcher.errors import UsageError


@cache
def grammar() -> argparse.ArgumentParser:
    """Built once: parsing does not change it."""
    return parser.build("compute-launcher")


def parse(line: str) -> Any:
    return grammar().parse_args(line.split())


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("", None),
        ("--workers 4", None),
        ("ping", "ping"),
        ("call get_host_uptime", "call"),
        ("reload", "reload"),
        ("services list", "services list"),
        ("services enable", "services enable"),
        ("services disable --reason broken", "services disable"),
        ("services delete --binary x", "services delete"),
        ("config check", "config check"),
        ("config show", "config show"),
        ("config sample", "config sample"),
    ],
)
def test_the_command(line: str, command: str | None) -> None:
    assert parse(line).command == command


@pytest.mark.parametrize("command", ["ping", "call x", "services list", "config show"])
def test_options_may_stand_before_and_after_the_command(command: str) -> None:
    options = "--config-file a --config-dir d --host h --debug"
    expected = (["--config-file=a", "--config-dir=d"], {"host": "h", "debug": True})

    for line in (f"{options} {command}", f"{command} {options}"):
        args = parse(line)
        assert (parser.config_args(args), parser.overrides(args)) == expected


def test_files_before_and_after_the_command_add_up_in_their_order() -> None:
    args = parse("--config-file a --config-file b ping --config-file c")
    between = parse("--config-file a services --config-file b list --config-file c")

    assert parser.config_args(args) == [f"--config-file={name}" for name in "abc"]
    assert parser.config_args(between) == parser.config_args(args)


def test_an_option_after_the_command_outranks_the_same_one_before_it() -> None:
    assert parser.overrides(parse("--host a ping --host b")) == {"host": "b"}


def test_an_option_before_the_command_survives_it() -> None:
    assert parser.overrides(parse("--workers 3 --manager m --debug config show")) == {
        "workers": 3,
        "manager": "m",
        "debug": True,
    }


def test_nothing_said_overrides_nothing() -> None:
    for line in ("", "ping", "services list"):
        assert parser.overrides(parse(line)) == {}
        assert parser.config_args(parse(line)) == []


def test_a_call_takes_arguments() -> None:
    args = parse("call set_host_enabled enabled=false reason=x --timeout 2.5")

    assert (args.method, args.arguments) == ("set_host_enabled", ["enabled=false", "reason=x"])
    assert args.timeout == 2.5


def test_a_client_waits_ten_seconds_by_default() -> None:
    assert (parse("ping").timeout, parse("call x").timeout) == (10, 10)


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("--workers 0", "'0' is not a number of workers, 1 or more"),
        ("--workers -1", "'-1' is not a number of workers"),
        ("--workers x", "'x' is not a number of workers"),
        ("--workers 1.5", "'1.5' is not a number of workers"),
        ("--workers", "expected one argument"),
        ("frob", "invalid choice: 'frob'"),
        ("--frob", "unrecognized arguments: --frob"),
        ("ping --frob", "unrecognized arguments: --frob"),
        ("ping --workers 3", "unrecognized arguments: --workers 3"),
        ("ping --worker x", "'x' is not a slot, 0 or more"),
        ("ping --worker -1", "'-1' is not a slot"),
        ("ping --timeout 0", "'0' is not a number of seconds above 0"),
        ("ping --timeout -1", "'-1' is not a number of seconds"),
        ("ping --timeout nan", "'nan' is not a number of seconds"),
        ("ping --timeout inf", "'inf' is not a number of seconds"),
        ("ping --timeout soon", "'soon' is not a number of seconds"),
        ("call", "required: METHOD;"),
        ("services", "required: COMMAND"),
        ("services frob", "invalid choice: 'frob'"),
        ("config", "required: COMMAND"),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(line: str, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(line)

    assert part in str(caught.value)
    assert "--help" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("line", ["--help", "ping --help", "services --help", "--version"])
def test_help_and_version_are_no_errors(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(line)

    assert caught.value.code == 0
    assert "compute-launcher" in capsys.readouterr().out


def test_help_is_a_page_with_the_commands_first(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser.build("compute-launcher").parse_args(["--help"])
    page = capsys.readouterr().out
    assert page.index("restart-worker") < page.index("--workers") < page.index("--config-file")
    assert "compute-launcher config sample" in page
    assert max(map(len, page.splitlines())) <= 80
    with pytest.raises(SystemExit):
        parser.build("compute-launcher").parse_args(["ping", "--help"])
    assert capsys.readouterr().out.startswith("usage: compute-launcher ping [-h]")


def test_shells_complete_files_and_directories_in_the_words_of_shtab() -> None:
    assert parser.COMPLETED["FILE"].items() <= shtab.FILE.items()
    assert parser.COMPLETED["DIR"].items() <= shtab.DIRECTORY.items()

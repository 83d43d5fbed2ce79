"""The grammar of the command line, as tables."""

import argparse
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import shtab

from launcher.cli import commands, common_options, parser, registry_commands
from launcher.errors import UsageError

OTHERS = ("config sample", "completion")


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
        ("services force-down --unset", "services force-down"),
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
    here = Path.cwd()
    files = [f"--config-file={here}/a", f"--config-dir={here}/d"]
    expected = (files, {"host": "h", "debug": True})

    for line in (f"{options} {command}", f"{command} {options}"):
        args = parse(line)
        assert (common_options.config_args(args), common_options.overrides(args)) == expected


def test_files_before_and_after_the_command_add_up_in_their_order() -> None:
    args = parse("--config-file a --config-file b ping --config-file c")
    between = parse("--config-file a services --config-file b list --config-file c")

    assert common_options.config_args(args) == [
        f"--config-file={Path.cwd()}/{name}" for name in "abc"
    ]
    assert common_options.config_args(between) == common_options.config_args(args)


def test_an_option_after_the_command_outranks_the_same_one_before_it() -> None:
    assert common_options.overrides(parse("--host a ping --host b")) == {"host": "b"}


def test_an_option_before_the_command_survives_it() -> None:
    assert common_options.overrides(parse("--workers 3 --manager m --debug config show")) == {
        "workers": 3,
        "manager": "m",
        "debug": True,
    }


@pytest.mark.parametrize(("line", "workers"), [("--dev", 1), ("--dev --workers 3", 3)])
def test_dev_is_one_worker_unless_a_number_is_given(line: str, workers: int) -> None:
    assert common_options.overrides(parse(line)) == {"workers": workers}


def test_nothing_said_overrides_nothing() -> None:
    for line in ("", "ping", "services list"):
        assert common_options.overrides(parse(line)) == {}
        assert common_options.config_args(parse(line)) == []


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
        ("frob", "there is no command 'frob'; commands: status, health, history, reload,"),
        ("statsu", "there is no command 'statsu'; did you mean status?"),
        ("restart-workr 1", "there is no command 'restart-workr'; did you mean restart-worker?"),
        ("--xyzzy", "there is no option --xyzzy here; see"),
        ("--manger x", "there is no option --manger here; did you mean --manager?"),
        ("--manger=x", "there is no option --manger here; did you mean --manager?"),
        ("--workers 3 --manger x", "there is no option --manger here; did you mean --manager?"),
        ("--workers 3 statsu", "there is no command 'statsu'; did you mean status?"),
        ("-z", "unrecognized arguments: -z"),
        ("ping --xyzzy", "there is no option --xyzzy here; see 'compute-launcher ping --help'"),
        ("ping --conut 3", "there is no option --conut here; did you mean --count?"),
        ("call x --timeuot 3", "there is no option --timeuot here; did you mean --timeout?"),
        ("ping --workers 3", "--workers has to stand before the command"),
        ("services --manager x list", "--manager has to stand before the command"),
        ("stop", "SIGTERM to the pid in 'status --json'"),
        ("restart", "'restart-worker SLOT' replaces a worker"),
        ("start", "without a command the service runs"),
        ("run --workers 3", "without a command the service runs"),
        ("ping --worker x", "'x' is not a slot, 0 or more"),
        ("ping --worker -1", "'-1' is not a slot"),
        ("ping --timeout 0", "'0' is not a number of seconds above 0"),
        ("ping --timeout -1", "'-1' is not a number of seconds"),
        ("ping --timeout nan", "'nan' is not a number of seconds"),
        ("ping --timeout inf", "'inf' is not a number of seconds"),
        ("ping --timeout soon", "'soon' is not a number of seconds"),
        ("call", "required: METHOD;"),
        ("services", "required: COMMAND"),
        ("services frob", "commands: list, enable, disable, force-down, delete"),
        ("services list --sort size", "'size' is no column with :asc or :desc behind it"),
        ("services list --sort age:up", "'age:up' is no column with :asc or :desc behind it"),
        ("services list --json --watch", "not allowed with argument"),
        ("services lst", "there is no command 'lst'; did you mean list?"),
        ("services disable h1", "'h1' is one argument too many; a host is given by --host; see"),
        ("health x", "'x' is one argument too many; see 'compute-launcher health --help'"),
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


def test_what_other_programs_have_is_answered_with_the_name_of_the_service() -> None:
    with pytest.raises(UsageError, match="systemctl stop thermo-launcher;") as caught:
        parser.build("thermo-launcher").parse_args(["stop"])

    assert caught.value.exit_status == 2


def test_the_beginning_of_an_option_is_enough() -> None:
    assert parse("--work 3 --manager m ping").workers == 3


def test_the_value_of_an_option_is_no_command() -> None:
    args = parse("--manager stop --config-file statsu services disable --reason=--xyzzy")

    assert (args.manager, args.command, args.reason) == ("stop", "services disable", "--xyzzy")


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


@pytest.mark.parametrize(
    "command", [*commands.COMMANDS, *registry_commands.COMMANDS, *commands.CONTROL, *OTHERS]
)
def test_help_of_each_command_has_an_example_that_works(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        grammar().parse_args([*command.split(), "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    example = f"{command} {parser.EXAMPLES[command]}"
    assert shown.endswith(f"example: compute-launcher {example}")
    words = shlex.split(example.partition(">")[0])
    assert grammar().parse_args(words).command == command


def test_the_help_of_each_option_gives_its_default() -> None:
    def options(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for command in action.choices.values():
                    yield from options(command)
            elif action.option_strings:
                yield action

    told = {action.option_strings[-1]: str(action.help) for action in options(grammar())}
    without = {"--help", "--version", "--names"}  # which have none
    assert [name for name in told if "default" not in told[name] and name not in without] == []


def test_shells_complete_files_and_directories_in_the_words_of_shtab() -> None:
    assert common_options.COMPLETED["FILE"].items() <= shtab.FILE.items()
    assert common_options.COMPLETED["DIR"].items() <= shtab.DIRECTORY.items()

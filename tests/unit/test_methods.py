"""What `methods` says that a client can call."""

import argparse
import json
import os
import subprocess
from pathlib import Path
from typing import Any, cast

import oslo_messaging
import pytest
from oslo_config import cfg

from launcher.cli import completion, methods, parser
from launcher.serve import loading
from launcher.serve.manager import Manager, expected_exceptions, expose, idempotent

BINARY = "compute-launcher"


class Oven(Manager):
    """With one method of each kind."""

    target = oslo_messaging.Target(version="2.1")

    @expose
    @idempotent
    def get_heat(self, context: dict[str, Any]) -> float:
        """Degrees.

        Celsius, that is.
        """
        return 180.0

    @expose
    @expected_exceptions(OverflowError)
    def set_heat(self, context: dict[str, Any], degrees: float, *, fan: bool = True) -> None:
        """It is listed, and not called."""
        raise AssertionError

    @staticmethod
    @expose
    def bake(context: dict[str, Any], **what: str) -> None: ...

    def open_door(self, context: dict[str, Any]) -> None:
        """For nobody on the bus."""


class Tray:
    target = oslo_messaging.Target(namespace="tray", version="1.3")

    @expose
    def turn(self, context: dict[str, Any], times: int = 1) -> None: ...


class Conf:
    prog = BINARY
    manager = f"{__name__}:Oven"


CONF = cast(cfg.ConfigOpts, Conf())


@pytest.fixture(autouse=True)
def manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "manager_class", lambda name, binary: Oven)


def show(**form: bool) -> int:
    return methods.show(CONF, argparse.Namespace(**{"json": False, "names": False} | form))


def test_exposed_methods_with_their_arguments_and_no_others() -> None:
    found = {one["name"]: one for one in methods.describe(Oven)}

    assert list(found) == ["bake", "get_heat", "set_heat"]
    assert found["get_heat"] == {
        "name": "get_heat",
        "version": "2.1",
        "arguments": [],
        "idempotent": True,
        "doc": "Degrees.\n\nCelsius, that is.",
    }
    assert found["set_heat"]["doc"] == "It is listed, and not called."
    assert found["set_heat"]["arguments"] == [
        {"name": "degrees", "required": True, "shown": "degrees: float"},
        {"name": "fan", "required": False, "shown": "fan: bool = True"},
    ]
    assert found["bake"]["arguments"] == [
        {"name": "what", "required": False, "shown": "**what: str"}
    ]


def test_a_name_has_its_namespace_in_front() -> None:
    (turn,) = methods.describe(Tray)

    assert (turn["name"], turn["version"]) == ("tray.turn", "1.3")


def test_for_people_each_is_a_line_with_its_docstring(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert show() == 0

    shown = capsys.readouterr().out
    assert "get_heat()  idempotent\n    Degrees.\n\n    Celsius" in shown
    assert "set_heat(degrees: float, fan: bool = True)\n" in shown
    assert "baseapi.ping(arg: Any = None)  idempotent\n" in shown


def test_for_programs_it_is_json_or_names(capsys: pytest.CaptureFixture[str]) -> None:
    show(json=True)
    assert json.loads(capsys.readouterr().out)[1]["name"] == "get_heat"
    show(names=True)
    assert capsys.readouterr().out.split() == [
        *("bake", "get_heat", "set_heat"),
        *("baseapi.get_backdoor_port", "baseapi.ping"),
    ]


def test_tab_after_call_asks_for_the_methods(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """bash itself completes, with a program in place of ours that knows two methods."""
    stand_in = tmp_path / BINARY
    stand_in.write_text('#!/bin/sh\n[ "$*" = "methods --names" ] && echo get_heat set_heat\n')
    stand_in.chmod(0o755)
    completion.show(parser.build(BINARY), "bash")
    (tmp_path / "script").write_text(capsys.readouterr().out)
    pressed = (
        f"source {tmp_path}/script; COMP_WORDS=({BINARY} call set); COMP_CWORD=2; "
        '$(complete -p compute-launcher | sed "s/.*-F \\([^ ]*\\).*/\\1/") '
        f"{BINARY} set call; "
        'echo "${COMPREPLY[@]}"'
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", pressed],
        env={"PATH": path},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("set_heat\n", "")

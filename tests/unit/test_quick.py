"""The short way of probes: which command lines take it, and that it finds the same service."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from launcher import __main__
from launcher.cli import common_options, parser, quick
from launcher.config import file_contents, loader
from launcher.directories import locations
from launcher.directories.locations import CONTROL_SOCKET
from launcher.supervise.control.requests import Answer
from launcher.supervise.control.sockets import Control

ROOT = Path(__file__).parents[2]
BINARY = "compute-launcher"
HEAVY = {"argparse", "ctypes", "http", "logging", "oslo_config", "pathlib", "tempfile"}

Run = Callable[..., int | None]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a user whose service is in $HOME/run."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    for name in ("OS_DEFAULT__RUNTIME_PATH", "SNAP", "SNAP_COMMON"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def asked(home: Path) -> Iterator[list[tuple[str, Any]]]:
    """The requests that a master gets whose service is in the directory `run`."""
    got: list[tuple[str, Any]] = []

    def answer(path: str, found: dict[str, Any]) -> Callable[..., Answer]:
        def handler(body: dict[str, Any], *groups: str) -> Answer:
            got.append((path, body or groups))
            return Answer.of(found)

        return handler

    directory = home / "run"
    directory.mkdir(mode=0o700)
    health = {"status": "pass", "output": "2/2 workers serving"}
    away = {"status": "fail", "output": "the bus does not answer"}
    master = Control(
        str(directory),
        {
            ("GET", "/health"): answer("health", health),
            ("GET", "/livez"): answer("livez", health),
            ("GET", "/startupz"): answer("startupz", health),
            ("GET", "/readyz"): answer("readyz", away),
            ("GET", "/status"): answer("status", {"healthy": False}),
            ("POST", "/reload"): answer("reload", {}),
            ("POST", "/scale"): answer("scale", {"workers": 3}),
            ("POST", r"/workers/(\d+)/restart"): answer("restart", {"pid": 7}),
        },
    )
    master.start()
    yield got
    master.stop()


def run(*words: str) -> int | None:
    return quick.run([f"/usr/bin/{BINARY}", *words])


@pytest.mark.parametrize(
    ("words", "status", "request_", "told"),
    [
        ("health", 0, ("health", ()), "pass: 2/2 workers serving\n"),
        ("health --json", 0, ("health", ()), '{\n  "status": "pass",'),
        ("health --live", 0, ("livez", ()), "pass: 2/2 workers serving\n"),
        ("health --started", 0, ("startupz", ()), "pass: 2/2 workers serving\n"),
        ("health --ready", 1, ("readyz", ()), "fail: the bus does not answer\n"),
        ("health --json --ready", 1, ("readyz", {"verbose": ""}), '{\n  "status": "fail",'),
        ("status --json", 1, ("status", ()), '{\n  "healthy": false\n}\n'),
        ("reload --wait", 0, ("reload", ()), "reloaded\n"),
        ("scale 3", 0, ("scale", {"workers": 3}), "scaled to 3 workers\n"),
        ("restart-worker 1", 0, ("restart", ("1",)), "worker 1 is replaced: pid 7\n"),
    ],
)
def test_a_command_is_done(
    asked: list[tuple[str, Any]],
    capsys: pytest.CaptureFixture[str],
    *,
    words: str,
    status: int,
    request_: tuple[str, Any],
    told: str,
) -> None:
    assert run(*words.split()) == status
    assert asked[-1] == request_
    assert capsys.readouterr().out.startswith(told)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "status",
        "status --watch",
        "scale 0",
        "scale x",
        "scale 3 4",
        "health --host node-1",
        "health --jsn",
        "--debug health",
        "health --help",
        "health --live --ready",
        "health --live --live",
        "ping",
        "health --config-file",
        "health --config-file missing.conf",
        "--workers 3",
    ],
)
def test_another_command_line_takes_the_long_way(
    asked: list[tuple[str, Any]], capsys: pytest.CaptureFixture[str], words: str
) -> None:
    assert run(*words.split()) is None
    assert asked == []
    assert capsys.readouterr() == ("", "")


def test_the_long_way_says_that_nobody_is_there(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("health") is None
    assert capsys.readouterr() == ("", "")


FILES = {
    "none": {},
    "a file": {f".{BINARY}/{BINARY}.conf": "[DEFAULT]\nruntime_path = /srv/one\n"},
    "the first of two": {
        f"{BINARY}.conf": "[DEFAULT]\nruntime_path = /srv/two\n",
        f".{BINARY}/{BINARY}.conf": "[DEFAULT]\nruntime_path = /srv/one\n",
    },
    "a directory's last": {
        f"{BINARY}.conf": "[DEFAULT]\nruntime_path = /srv/one\n",
        f"{BINARY}.conf.d/2.conf": "[DEFAULT]\nruntime_path=/srv/three\n",
        f"{BINARY}.conf.d/1.conf": "[DEFAULT]\nruntime_path = /srv/two\n",
        f"{BINARY}.conf.d/3.txt": "[DEFAULT]\nruntime_path = /srv/four\n",
    },
    "a comment": {f"{BINARY}.conf": "[DEFAULT]\n#runtime_path = /srv/one\ndebug = true\n"},
    "another option's value": {
        f"{BINARY}.conf": "[DEFAULT]\ntransport_url = unix://$runtime_path/bus\n"
    },
    "twice in a file": {
        f"{BINARY}.conf": "[DEFAULT]\nruntime_path = /srv/one\nruntime_path = /srv/two\n"
    },
}


@pytest.mark.parametrize("files", FILES.values(), ids=FILES)
def test_the_same_directory_is_found_as_by_the_long_way(home: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text(text)
    found = quick._runtime_path(BINARY, {"--config-file": [], "--config-dir": []})
    assert found == str(loader.runtime_path(BINARY))


def test_the_same_directory_is_found_with_named_files(home: Path) -> None:
    (home / "one.conf").write_text("[DEFAULT]\nruntime_path = /srv/one\n")
    (home / f"{BINARY}.conf").write_text("[DEFAULT]\nruntime_path = /srv/two\n")
    words = ["health", "--config-file=~/one.conf", "--config-file", str(home / "one.conf")]
    _, _, named = quick._parse(words)
    assert quick._runtime_path(BINARY, named) == "/srv/one"
    arguments = parser.build(BINARY).parse_args(words)
    assert loader.runtime_path(BINARY, common_options.config_args(arguments)) == Path("/srv/one")


NAMED = {
    "a file": ["--config-file", "~/mine.conf"],
    "a directory": ["--config-dir", "~/mine.d"],
    "both": ["--config-file", "~/mine.conf", "--config-dir", "~/mine.d"],
}


@pytest.mark.parametrize("words", NAMED.values(), ids=NAMED)
@pytest.mark.parametrize("found", ["", f"{BINARY}.conf", f"{BINARY}.conf.d/50.conf"])
def test_what_is_named_outranks_what_is_found(home: Path, words: list[str], found: str) -> None:
    files = {
        "mine.conf": "runtime_path = /srv/file",
        "mine.d/.10.conf": "runtime_path = /srv/hidden",
        "mine.d/20.conf": "debug = true",
    }
    for name, text in (files | ({found: "runtime_path = /srv/found"} if found else {})).items():
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text(f"[DEFAULT]\n{text}\n")
    _, _, named = quick._parse(["health", *words])
    arguments = parser.build(BINARY).parse_args(["health", *words])
    expected = loader.runtime_path(BINARY, common_options.config_args(arguments))
    assert quick._runtime_path(BINARY, named) == str(expected)


def test_a_pipe_is_left_to_the_long_way_whole(home: Path) -> None:
    os.mkfifo(home / "pipe")
    opened = os.open(home / "pipe", os.O_RDWR)  # so that nobody waits for the other end
    os.write(opened, b"[DEFAULT]\nruntime_path = /srv/one\n")
    assert run("--config-file", str(home / "pipe"), "health") is None
    assert os.read(opened, 100).startswith(b"[DEFAULT]")
    os.close(opened)


def test_a_removed_current_directory_is_no_matter(
    asked: list[tuple[str, Any]], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "gone").mkdir()
    monkeypatch.chdir(home / "gone")
    (home / "gone").rmdir()
    assert run("health") == 0
    assert [path for path, _ in asked] == ["health"]


@pytest.mark.parametrize(
    "text",
    [
        "[DEFAULT]\nruntime_path = $state_path/run\n",
        '[DEFAULT]\nruntime_path = "/srv/one"\n',
        "[DEFAULT]\nruntime_path = /srv/one\n  /two\n",
        "[DEFAULT]\nruntime_path: /srv/one\n",
        "[DEFAULT]\nruntime_path = relative\n",
        "[DEFAULT]\nruntime_path =\n",
        "[default]\nruntime_path = /srv/one\n",
        "[DEFAULT]\nconfig_source = elsewhere\n",
        "runtime_path = /srv/one\n",
        "[DEFAULT]\n runtime_path = /srv/one\n",
    ],
)
def test_what_oslo_config_has_to_interpret_takes_the_long_way(home: Path, text: str) -> None:
    (home / f"{BINARY}.conf").write_text(text)
    with pytest.raises(quick._NotSimple):
        quick._runtime_path(BINARY, {"--config-file": [], "--config-dir": []})


def test_oslo_config_looks_for_files_where_the_short_way_does(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A place that only one of them knows would lead to another service."""
    monkeypatch.setattr(locations, "SHIPPED", str(home / "{0}-dist.conf"))
    (home / f"{BINARY}-dist.conf").touch()
    for place in (f".{BINARY}", ""):
        (home / place / f"{BINARY}.conf.d").mkdir(parents=True)
        (home / place / f"{BINARY}.conf").touch()
        (home / place / f"{BINARY}.conf.d" / "one.conf").touch()
    named: dict[str, list[str]] = {"--config-file": [], "--config-dir": []}
    *files, inside = quick._files(BINARY, named)
    assert files == list(dict.fromkeys(file_contents.usual_files(BINARY)))
    assert len(files) == 2
    assert {str(Path(inside).parent)} == set(cfg.find_config_dirs(BINARY, BINARY))


def test_the_script_takes_the_short_way_for_every_command_that_has_one() -> None:
    assert set(quick.COMMANDS) == __main__.ON_THE_SHORT_WAY


def test_a_probe_imports_nothing_that_is_heavy(asked: list[tuple[str, Any]], home: Path) -> None:
    """It took 0.2 s of processor time and 37 MB."""
    assert (home / "run" / CONTROL_SOCKET).exists()
    script = (
        f"import sys; before = set(sys.modules); sys.argv = [{BINARY!r}, 'health'];"
        "from launcher.cli import quick; status = quick.run(sys.argv);"
        "print(status, *{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    told, facts = done.stdout.splitlines()
    assert told == "pass: 2/2 workers serving"
    status, *imported = facts.split()
    assert status == "0"
    assert not HEAVY & set(imported)

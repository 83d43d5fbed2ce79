"""--dev: which files are watched and when one counts as saved; who may not start it."""

import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import pytest

from launcher.dev import attempt, restarter, sources
from launcher.dev.sources import GONE, Watch, Witness, fingerprint, is_own
from launcher.errors import SourceWrong, UsageError


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("/home/me/thermo.py", True),
        ("/home/me/thermo.so", False),
        ("built-in", False),
        ("/home/me/.venv/lib/python3.11/site-packages/theirs/manager.py", False),
        ("/usr/lib/python3/dist-packages/theirs.py", False),
        (sysconfig.get_path("stdlib") + "/json/decoder.py", False),
    ],
)
def test_a_developer_edits_what_is_not_installed(path: str, own: bool) -> None:
    assert is_own(path) is own


def test_what_is_read_is_told_with_its_state_before_and_found_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, str] = {}
    path = tmp_path / "half_done.py"
    path.write_text("def f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("sys.meta_path", [Witness(told.__setitem__), *sys.meta_path])

    with pytest.raises(SyntaxError):
        importlib.import_module("half_done")
    assert importlib.util.find_spec("json.decoder") is not None
    assert importlib.util.find_spec("there_is_no_such_module") is None

    assert told == {str(path): fingerprint(str(path))}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "thermo.py"
    path.write_text("1")
    return path


def watching(path: Path) -> Watch:
    watch = Watch()
    watch.note(str(path), fingerprint(str(path)))
    return watch


def test_a_file_is_saved_when_two_looks_see_the_same_once(saved: Path) -> None:
    watch = watching(saved)
    assert watch.look() == []
    saved.write_text("half of ")
    assert watch.look() == []
    saved.write_text("half of it, and the rest")
    assert watch.look() == []
    assert watch.look() == [str(saved)]
    assert watch.look() == []


def test_a_file_that_is_back_as_it_was_is_not_saved(saved: Path) -> None:
    watch = watching(saved)
    away = saved.rename(saved.with_suffix(".away"))
    assert watch.look() == []
    away.rename(saved)
    assert watch.look() == []
    assert watch.look() == []


def test_a_file_that_is_deleted_is_told_and_so_is_its_return(saved: Path) -> None:
    watch = watching(saved)
    saved.unlink()
    assert [watch.look(), watch.look(), watch.look()] == [[], [str(saved)], []]
    saved.write_text("2")
    assert [watch.look(), watch.look()] == [[], [str(saved)]]


def test_a_file_that_was_saved_after_it_was_read_is_told(saved: Path) -> None:
    watch = Watch()
    watch.note(str(saved), "1 2 3")
    assert [watch.look(), watch.look()] == [[], [str(saved)]]


def test_new_modules_count_while_an_import_fails(saved: Path) -> None:
    watch = watching(saved)
    watch.note_directories([str(saved)])
    (saved.parent / "notes.txt").touch()
    assert [watch.look(), watch.look()] == [[], []]
    (saved.parent / "new.py").touch()
    assert [watch.look(), watch.look()] == [[], [str(saved.parent)]]
    watch.forget_directories()
    (saved.parent / "newer.py").touch()
    assert [watch.look(), watch.look()] == [[], []]


def test_what_is_not_there_has_a_fingerprint_too(tmp_path: Path) -> None:
    assert fingerprint(str(tmp_path / "absent.py")) == GONE


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (b"x = 1\ndef f(:\n", ":2: invalid syntax"),
        (b"x = (\n", ":1: '(' was never closed"),
        (b"x = 1\0\n", "null bytes"),
        (b"x = '\xff'\n", "utf-8"),  # 3.14: Non-UTF-8 code
        (b"x = " + b"(" * 500 + b")" * 500, ":1: "),
    ],
)
def test_a_file_that_does_not_compile_is_told_with_its_line(
    saved: Path, source: bytes, said: str
) -> None:
    saved.write_bytes(source)
    with pytest.raises(SourceWrong) as caught:
        attempt.check_syntax(str(saved))
    assert str(caught.value).startswith(f"{saved}:")
    assert said in str(caught.value).lower()


@pytest.mark.filterwarnings("error")
def test_a_file_that_compiles_or_is_gone_is_right(saved: Path) -> None:
    saved.write_text("x = '\\d'\n")
    attempt.check_syntax(str(saved))
    attempt.check_syntax(str(saved.parent))
    attempt.check_syntax(str(saved.parent / "absent.py"))


@pytest.mark.parametrize(
    ("environ", "refused"),
    [
        ({}, False),
        ({"NOTIFY_SOCKET": "/run/systemd/notify"}, True),
        ({"INVOCATION_ID": "abc"}, True),  # systemd before 248
        ({"INVOCATION_ID": "abc", "SYSTEMD_EXEC_PID": "7"}, True),
        ({"INVOCATION_ID": "abc", "SYSTEMD_EXEC_PID": "6"}, False),  # a desktop's terminal
        ({"SYSTEMD_EXEC_PID": "7"}, False),
    ],
)
def test_systemd_is_told_from_a_desktop_that_it_has_started(
    environ: Mapping[str, str], refused: bool
) -> None:
    if not refused:
        restarter.refuse_under_systemd(environ, 7)
        return
    with pytest.raises(UsageError, match="take --dev out of the unit"):
        restarter.refuse_under_systemd(environ, 7)


def test_modules_of_ours_are_known() -> None:
    assert (sources.__file__ in set(sources.imported())) is is_own(sources.__file__)

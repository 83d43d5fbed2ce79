"""The screen of `status`: whole in 80 columns, whatever a worker is doing."""

from typing import Any

import pytest

from launcher.board.states import Wanted
from launcher.cli import screen, short_numbers


def worker(slot: int, **facts: Any) -> dict[str, Any]:
    """One that serves."""
    calls = {"in_hand": 0, "done": 0, "failed": 0, "oldest": None, "oldest_age": None}
    return {
        "slot": slot,
        "pid": 4194304,
        "state": "serving",
        "late": False,
        "step": "done",
        "last_task": "report",
        "age": 3.0,
        "calls": calls | facts.pop("calls", {}),
        "last_probe": 1.2,
        "memory": 15_400_000,
        "cpu_seconds": 1.0,
        "cpu_percent": 0.4,
        "restarts": 0,
        "last_end": None,
        **facts,
    }


def shown(*workers: dict[str, Any], **facts: Any) -> list[str]:
    """The lines for these workers."""
    answer = {"headline": "2/2 workers serving", "healthy": True, "lead": 0, "workers": workers}
    return screen.show(answer | facts).splitlines()


def test_each_worker_is_a_line() -> None:
    lines = shown(worker(0), worker(1, state="starting", step="pre_start_hook", memory=None))
    assert lines[0] == "2/2 workers serving"
    assert lines[1].split() == [name for name, _, _ in screen.COLUMNS]
    assert lines[2].split() == (
        ["*0", "4194304", "serving", "report", "3s", "0", "0", "0", "0", "1s", "14.7M", "0"]
    )
    assert lines[3].split()[:4] == ["1", "4194304", "starting", "pre_start_ho…"]
    assert len(lines) == 4


def test_what_is_wanted_of_a_worker_is_told_unless_it_is_to_stay() -> None:
    lines = shown(worker(0, wanted="worker"), worker(1, wanted="renewal"))
    assert len(lines) == 5
    assert lines[4].strip() == "is to leave, and one with the new configuration follows"
    assert sorted(screen.WISHES) == sorted(one.label for one in Wanted if one is not Wanted.WORKER)


def test_the_largest_numbers_fit_80_columns() -> None:
    calls = {"in_hand": 99999, "done": 10**12, "failed": 10**9}
    last = {"age": 9e6, "cause": "x" * 300, "ending": "SIGKILL", "place": "in step init_host"}
    lines = shown(
        worker(
            511, age=1e8, restarts=999, calls=calls, memory=10**12, cpu_percent=100.0, late=True
        ),
        worker(399, last_end=last),
        worker(2, pid=None, state="empty", last_task=None, age=None, cpu_percent=None),
        lead=511,
    )
    assert max(map(len, lines)) <= screen.WIDTH
    assert lines[2].split()[2] == "late"
    assert "".join(line.strip() for line in lines).count("x") >= 300, "the cause is whole"


def test_what_the_last_one_died_of_stands_below_its_worker() -> None:
    end = {"age": 5.0, "cause": "killed by SIGKILL", "ending": "SIGKILL", "place": "after 2 s"}
    lines = shown(worker(0), worker(1, last_end=end), worker(2))
    assert lines[4] == "     5s ago: killed by SIGKILL (SIGKILL, after 2 s)"
    assert [line.split()[0] for line in lines[2:]] == ["*0", "1", "5s", "2"]


def test_there_is_no_colour_but_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in "\n".join(shown(worker(0)))
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" in "\n".join(shown(worker(0)))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.4, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (1e6, "11d")],
)
def test_ages(seconds: float | None, text: str) -> None:
    assert short_numbers.age(seconds) == text


@pytest.mark.parametrize(
    ("number", "base", "text"),
    [
        (None, 1000, "-"),
        (9999, 1000, "9999"),
        (12345, 1000, "12.3K"),
        (999_999, 1000, "1000K"),
        (15_400_000, 1024, "14.7M"),
        (500, 1024, "500"),
    ],
)
def test_amounts(number: int | None, base: int, text: str) -> None:
    assert short_numbers.amount(number, base) == text


def test_a_program_is_named_with_its_services() -> None:
    program = {"name": "x-api", "version": "x 1.0", "services": ["Api", "Cleaner"]}
    lines = shown(worker(0), program=program)
    assert lines[1] == "program x-api (x 1.0): Api, Cleaner"
    assert lines[2].split()[0] == "SLOT"
    bare = shown(worker(0), program=program | {"version": None, "services": []})
    assert bare[1] == "program x-api"


def test_how_long_calls_wait_is_told_of_the_slowest_methods() -> None:
    answer = {"headline": "", "healthy": True, "lead": 0, "workers": []}
    waits = {name: {"p95": p95} for name, p95 in (("a", 0.0), ("b", 2.0), ("c", 0.03), ("d", 1))}
    text = "95 % of calls were begun within: b 2000 ms, d 1000 ms, c 30 ms"
    assert screen.show(answer | {"waits": waits}).splitlines()[-1] == text

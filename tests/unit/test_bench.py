"""What the bench makes of what it has measured."""

import json
from pathlib import Path

import pytest

from tests.bench import __main__, record, report
from tests.bench.record import Record, Results, interleave
from tests.bench.targets import Found, Target, level, ratio
from tests.bench.usage import Activity

MACHINE = {"processor": "abacus", "cores": "2"}
START = Record(
    "start", "seconds", "s", 4, "rabbit", {"ours": [1.2, 1.0, 1.3], "floor": [1.0, 1.0, 0.9]}
)


def test_systems_take_turns() -> None:
    turns: list[str] = []

    def measure(name: str) -> dict[str, float]:
        turns.append(name)
        return {"seconds": float(len(turns))}

    found = interleave(2, ["a", "b", "c"], measure)
    assert turns == ["a", "b", "c", "a", "b", "c"]
    assert found == {"seconds": {"a": [1, 4], "b": [2, 5], "c": [3, 6]}}


def test_a_ratio_is_that_of_medians_and_its_spread_that_within_rounds() -> None:
    assert START.ratio("ours", "floor") == 1.2
    assert START.spread_of_ratio("ours", "floor") == (1.0, 1.3 / 0.9)


def test_a_line_begins_with_the_ratios() -> None:
    line = json.loads(START.line("floor"))
    assert list(line)[:4] == ["case", "what", "n", "ratios"]
    assert line["ratios"] == {"ours/floor": 1.2}
    assert line["ours"] == {"median": 1.2, "min": 1.0, "max": 1.3, "rounds": 3}


def test_a_line_of_one_system_has_no_ratios() -> None:
    alone = Record("scale", "start", "s", 4, "unix", {"ours": [1.0]})
    assert "ratios" not in json.loads(alone.line("floor"))


def test_what_is_measured_anew_takes_the_place_of_what_was_there() -> None:
    other = Record("stop", "seconds", "s", 4, "rabbit", {"ours": [0.3]})
    again = Record("start", "seconds", "s", 4, "rabbit", {"ours": [1.0]})
    merged = Results(MACHINE, (START, other)).with_new([again])
    assert set(map(id, merged.records)) == {id(again), id(other)}


def test_what_is_saved_is_found_again_on_the_same_machine_only(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    record.save(Results(MACHINE, (START,)), path)
    assert record.load(MACHINE, path) == Results(MACHINE, (START,))
    assert record.load({"processor": "slide rule"}, path).records == ()
    assert record.stored(path).machine == MACHINE
    assert record.stored(tmp_path / "missing").records == ()


@pytest.mark.parametrize(
    ("limit", "at_least", "met"), [(1.2, False, True), (1.19, False, False), (1.2, True, True)]
)
def test_a_target_is_judged_by_the_medians(limit: float, at_least: bool, met: bool) -> None:
    target = Target(1, "", limit, ratio("start", "seconds", 4, "ours", "floor"), at_least)
    found = target.find(Results(MACHINE, (START,)))
    assert found is not None
    assert target.met(found) is met


def test_what_was_not_measured_is_not_judged() -> None:
    assert level("start", "seconds", 16)(Results(MACHINE, (START,))) is None
    assert ratio("start", "seconds", 4, "ours", "nobody")(Results(MACHINE, (START,))) is None


def test_a_figure_is_shown_with_its_spread() -> None:
    assert str(Found(1.23456, 1, 2)) == "1.23 (1 to 2)"
    assert str(Found(1.5)) == "1.5"
    assert str(Found(0, 0, 0)) == "0"


def test_the_report_names_the_machine_the_targets_and_the_figures() -> None:
    text = report.render(Results(MACHINE, (START,)), tried="## What was tried\n\nAll.\n")
    assert "processor abacus, cores 2" in text
    assert "| 1 | start, N = 4: ours / floor | ≤ 1.25 | 1.2 (1 to 1.44) | met |" in text
    assert "| 1 | start, N = 16: ours / floor | ≤ 1.25 |  | not measured |" in text
    assert "| 4 | rabbit | seconds, s | **1.2** | 1.2 (1–1.3) | 1 (0.9–1) |" in text  # noqa: RUF001
    assert "## What was tried" in text


def test_activity_counts_tasks_that_are_new_from_their_beginning() -> None:
    before = Activity({1: (1_000_000_000, 5), 2: (7, 7)})
    after = Activity({1: (3_000_000_000, 8), 3: (500_000_000, 1)})
    assert after.since(before) == (2.5, 4)


def test_all_cases_are_measured_when_none_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.parse([]).cases == []
    assert __main__.parse(["start", "stop", "--n", "1", "4"]).cases == ["start", "stop"]
    with pytest.raises(SystemExit):
        __main__.parse(["begin"])
    assert "'begin' is none of start, memory" in capsys.readouterr().err

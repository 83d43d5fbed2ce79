"""What `make matrix` reads and writes."""

from pathlib import Path

from tests.matrix.results import Outcome, merged
from tests.matrix.roots import parsed

REPORT = """<testsuites><testsuite name="pytest" time="7.5">
<testcase classname="tests.a" name="good" time="1"/>
<testcase classname="tests.a" name="bad" time="1"><failure message="x"/></testcase>
<testcase classname="tests.a" name="broken" time="1"><error message="x"/></testcase>
<testcase classname="tests.a" name="left_out" time="1"><skipped message="x"/></testcase>
</testsuite></testsuites>"""


def test_results_of_pytest_are_counted_and_failures_are_named(tmp_path: Path) -> None:
    report = tmp_path / "unit.xml"
    report.write_text(REPORT)
    assert Outcome.of_junit("unit", report) == Outcome(
        "unit", 1, ["tests.a::bad", "tests.a::broken"], 1, 7.5
    )


def test_a_suite_without_results_has_failed(tmp_path: Path) -> None:
    assert Outcome.of_junit("unit", tmp_path / "none.xml").failed


def test_results_replace_those_of_the_same_root_and_suite_and_no_others() -> None:
    text = ""
    for root, suite, failed in [
        ("b", "unit", ["t"]),
        ("a", "unit", ["t"]),
        ("b", "systemd", ["u"]),
        ("b", "unit", []),
    ]:
        text = merged(text, root, "abc", "1.0", [Outcome(suite, 3, failed, 0, 1.2)])
    lines = text.splitlines()
    assert [line for line in lines if line.startswith(("| a", "| b", "- "))] == [
        "| a | unit | abc | 3 | 1 | 0 | 1 |",
        "| b | systemd | abc | 3 | 1 | 0 | 1 |",
        "| b | unit | abc | 3 | 0 | 0 | 1 |",
        "- a · 1.0",
        "- b · 1.0",
        "- a · unit · t",
        "- b · systemd · u",
    ]


def test_a_suite_that_used_no_versions_leaves_them_as_they_were() -> None:
    text = merged("", "a", "abc", "1.0", [Outcome("unit", 3, [], 0, 1)])
    text = merged(text, "a", "abc", "", [Outcome("make run, root", 1, [], 0, 1)])
    assert "- a · 1.0" in text.splitlines()
    assert "- a · " not in text.splitlines()


def test_what_pip_is_told_holds_inside_and_a_variable_outranks_a_file(tmp_path: Path) -> None:
    variables, paths = parsed(
        f":env:.find-links='{tmp_path}'\nglobal.find-links='/nowhere'\n"
        f"global.extra-index-url='file://{tmp_path}/simple https://example.org/simple'\n"
    )
    assert variables == {
        "PIP_FIND_LINKS": str(tmp_path),
        "PIP_EXTRA_INDEX_URL": f"file://{tmp_path}/simple https://example.org/simple",
    }
    assert paths == [tmp_path]

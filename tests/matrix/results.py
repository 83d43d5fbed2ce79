"""The results of the matrix: a file with a line for each root and suite."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

FILE = Path(__file__).with_name("RESULTS.md")
HEAD = """\
# The matrix: every suite on bare Debians

Written by `make matrix`, as root. Each suite begins on a root that has nothing but make, git and
python3, with a fresh clone. Seconds depend on what else the machine did.
"""
TABLE = """\
| root | suite | commit | passed | failed | skipped | seconds |
|---|---|---|--:|--:|--:|--:|"""
VERSIONS = "\n## Versions\n"
FAILURES = "\n## What failed\n"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one suite; `failed` are the names of tests, or what else went wrong."""

    suite: str
    passed: int
    failed: Sequence[str]
    skipped: int
    seconds: float

    @classmethod
    def of_junit(cls, suite: str, report: Path) -> "Outcome":
        """What pytest has written; a report that is not there is a failure."""
        if not report.exists():
            return cls(suite, 0, ["wrote no results"], 0, 0.0)
        (tests,) = ElementTree.parse(report).getroot().iter("testsuite")
        failed, skipped, passed = [], 0, 0
        for case in tests.iter("testcase"):
            kinds = {child.tag for child in case}
            if kinds & {"failure", "error"}:
                failed.append(f"{case.get('classname')}::{case.get('name')}")
            elif "skipped" in kinds:
                skipped += 1
            else:
                passed += 1
        return cls(suite, passed, failed, skipped, float(tests.get("time", "0")))

    def row(self, root: str, commit: str) -> str:
        """Of the table."""
        numbers = (self.passed, len(self.failed), self.skipped, round(self.seconds))
        return f"| {root} | {self.suite} | {commit} | {' | '.join(map(str, numbers))} |"

    def failures(self, root: str) -> list[str]:
        """A line for each."""
        return [f"- {root} · {self.suite} · {name}" for name in self.failed]


def write(root: str, commit: str, versions: str, outcomes: Sequence[Outcome]) -> None:
    """Put these results in place of those of the same root and suites.

    :param versions: of what the suites used; empty: as they were.
    """
    before = FILE.read_text(encoding="utf-8") if FILE.exists() else ""
    FILE.write_text(merged(before, root, commit, versions, outcomes), encoding="utf-8")


def merged(before: str, root: str, commit: str, versions: str, outcomes: Sequence[Outcome]) -> str:
    """The text with these results in it, and with all others as they were."""
    suites = {one.suite for one in outcomes}
    kept = [line for line in before.splitlines() if not _told_by(line, root, suites, versions)]
    rows = [line for line in kept if line.startswith("| ") and line not in TABLE]
    failures = [line for line in kept if line.startswith("- ") and line.count(" · ") == 2]
    known = [line for line in kept if line.startswith("- ") and line.count(" · ") == 1]
    return "\n".join(
        [
            HEAD,
            TABLE,
            *sorted([*rows, *(one.row(root, commit) for one in outcomes)]),
            VERSIONS,
            *sorted([*known, *([f"- {root} · {versions}"] if versions else [])]),
            FAILURES,
            *(sorted([*failures, *_all_failures(root, outcomes)]) or ["Nothing."]),
            "",
        ]
    )


def _told_by(line: str, root: str, suites: Iterable[str], versions: str) -> bool:
    """Whether the new results say the same anew."""
    words = [word.strip() for word in line.lstrip("|-").replace(" · ", "|").split("|")]
    is_versions = versions and line.startswith("- ") and len(words) == 2
    return words[0] == root and bool(is_versions or (len(words) > 2 and words[1] in suites))


def _all_failures(root: str, outcomes: Iterable[Outcome]) -> list[str]:
    return [line for one in outcomes for line in one.failures(root)]

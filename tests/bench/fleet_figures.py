"""What is made of the reports of a simulated fleet. Pure."""

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple


class Report(NamedTuple):
    """A report of one host. Seconds.

    :ivar late: from when it was due until it began: the measuring process was starved.
    """

    host: int
    began: float  # monotonic
    took: float
    late: float
    failed: bool


class Found(NamedTuple):
    """What one process, or all of them, saw."""

    reports: list[Report]
    statements: Counter[str]  # by their first word, pings aside
    outages: int  # as they are logged: two lines each


class Plan(NamedTuple):
    """Seconds.

    :ivar lasts: half of it before the restart, half of it after the server is back.
    """

    hosts: int
    processes: int
    interval: float
    lasts: float
    away: float


def judge(
    plan: Plan, found: Sequence[Found], begun: float, went: float, back: float
) -> dict[str, Any]:
    """The figures. Pure; times in monotonic seconds.

    :param went, back: when the server began to stop, and when it answered again.
    """
    reports = [report for one in found for report in one.reports]
    settled = begun + 1.1 * plan.interval  # all are registered, and have compared versions
    quiet = [one for one in reports if settled < one.began < went and not one.failed]
    after = [one for one in reports if one.began >= back and not one.failed]
    returned: dict[int, float] = {}
    for one in sorted(after, key=lambda one: one.began):
        returned.setdefault(one.host, one.began - back)
    every = Counter(int(one.began - one.late) for one in quiet)
    again = Counter(int(one.began - one.late - back) for one in after)
    statements = sum((one.statements for one in found), Counter())
    return {
        "hosts": plan.hosts,
        "interval_s": plan.interval,
        "lasted_s": plan.lasts,
        "reports": sum(not one.failed for one in reports),
        "reports_a_second": round(len(quiet) / max(1.0, went - settled), 1),
        "statements": dict(statements),
        "statements_a_report": round(statements.total() / len(reports), 3),
        "report_p50_ms": _milliseconds(quiet, 0.5),
        "report_p99_ms": _milliseconds(quiet, 0.99),
        "began_late_p99_ms": round(1000 * _quantile([one.late for one in quiet], 0.99), 1),
        "away_s": round(back - went, 1),
        "failed": sum(one.failed for one in reports),
        "outages_logged": sum(one.outages for one in found),
        "hosts_back": len(returned),
        "back_after_p50_s": round(_quantile(list(returned.values()), 0.5), 1),
        "back_after_most_s": round(max(returned.values()), 1),
        "most_due_in_a_second_before": max(every.values()),
        "most_due_in_a_second_after": max(again.values()),
        "after_p99_ms": _milliseconds([one for one in after if one.began < back + plan.interval]),
    }


def _milliseconds(reports: Sequence[Report], part: float = 0.99) -> float:
    return round(1000 * _quantile([one.took for one in reports], part), 1)


def _quantile(values: Sequence[float], part: float) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[round(100 * part) - 1]

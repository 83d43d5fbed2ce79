"""RESULTS.md: rendered from what was measured, whenever that was."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.bench import systems
from tests.bench.record import Record, Results, significant
from tests.bench.targets import SHARED_HEAP, TARGETS, UNIX, UNIX_BASE

HERE = Path(__file__).parent
REPORT = HERE / "RESULTS.md"
TRIED = HERE / "TRIED.md"  # by hand: what was tried, and what it gave

INTRODUCTION = """\
# Measured beside its peers

Made by `make bench`; not to be edited. Every figure is the median of the rounds of one run, in
which the systems took turns, with the least and the greatest in brackets; a ratio is that of two
medians, with the least and the greatest ratio within a round. What counts is the ratios: other
machines, and other days of this one, give other seconds.
"""

SYSTEMS = {
    systems.OURS: "compute-launcher as it ships: monitor, watchdog, reports, probes, periodic "
    "tasks, tracking and metrics on",
    systems.BASE: "compute-launcher as it was at an earlier commit, which `BASE=` names",
    systems.FLOOR: "C, a hand-written `os.fork()` master: imports preloaded, eventlet kept out, "
    "collector frozen, a quick stop, what dies is forked anew at once; nothing else",
    systems.BARE_FORK: "our own preloaded process without its supervision: a loop of "
    "`os.fork()` whose workers walk the whole start sequence",
    systems.COTYLEDON: "B, plain cotyledon with fork, its own defaults, imports preloaded",
    systems.OSLO_FORK: "A′, oslo.service's threading backend; it forks, by default",  # noqa: RUF001
    systems.OSLO_SPAWN: 'A, the same with `start_method="spawn"`; 4.8.0 has to be asked for it',
    systems.STOCK: "the same program without the launcher: nova-conductor 34.0.0",
    systems.NOVA: "nova 34.0.0 from PyPI: `ServiceList.get_all`, `Service.save`",
    UNIX: "ours on its own bus, without a broker",
    UNIX_BASE: "the same as it was at that earlier commit, with its own clients",
}
FAIRNESS = """\
A worker of each imports what it needs, writes one row to SQLite through SQLAlchemy, listens as two
RPC servers (topic and host, shared by all workers; one of its own), calls its own one through the
bus, and has then *proven* itself. All are started by the same command line and are ready when they
say `READY=1` to `$NOTIFY_SOCKET`, with the proof of the last worker. The bus is a RabbitMQ node
that the bench has for itself, unless it says otherwise.
"""

NOTES: Mapping[str, str] = {
    "start": "Seconds from exec to `READY=1`. 64 workers for ours and the floor only.",
    "memory": "MB of the whole tree, idle, after a full collection in each worker; and what a "
    "worker has for itself alone. After calls: 120 of them, by eight threads.",
    "footprint": "What a worker has at RabbitMQ, and its processor time from the fork to the "
    "proof. After calls: 120 of them by eight threads, and then 100 seconds without one.",
    "stop": "Seconds from SIGTERM to the end of the master, after two seconds without a call. "
    "What oslo.messaging's listeners sleep in a stop depends on how long nothing had come before.",
    "recovery": "Milliseconds from SIGKILL until as many others have proven themselves. "
    "cotyledon sleeps for five seconds where deaths follow each other as in the last line; it is "
    "spared that in the others.",
    "idle": "CPU time and voluntary context switches of all threads of all processes, for each "
    "second. Heartbeats of RabbitMQ come once in hours, but where the name says that they are as "
    "they ship. After load: ten seconds of calls by eight threads for each, all at the same time, "
    "then twenty of rest. Rounds of 30 and of 10 seconds, which overlap.",
    "reload": "SIGHUP to the master under 50 calls a second, of 20 ms each, at fixed times; a "
    "spell without one, of ours, and one with it. Fewer than all: for how long fewer than four "
    "workers took calls, from when a worker begins to stop to when another has proven itself. "
    "Ours has one worker more meanwhile.",
    "calls": "Eight client threads in one process that call without pause. The socket is the "
    "floor under any bus: `socketserver` on a Unix socket, no queue and no acknowledgement.",
    "commands": "Of one command: processor time, and the most memory that it had. `python` only "
    "starts Python.",
    "scale": "Ours alone. CPU is the master's, all of it. The round of the monitor is timed by "
    "itself, as often as it is possible, while all serve; in a service there is one a second.",
    "visitors": "By how much the monitor's rounds came late, alone and under a crowd of ten that "
    "asks without pause, breaks off, says nonsense or says nothing.",
    "respawns": "The master before and after 500 deaths of workers, all of them killed with "
    "SIGKILL; `uss` in MB.",
    "program": "nova-conductor with RabbitMQ and PostgreSQL: under the launcher, and as it is. "
    "Start: from exec until N workers are proven (ours) or N consume (stock). PSS of the tree is "
    "after a full collection in each process. One killed: until N are proven, or consume, again.",
    "fleet": "N rows in a table of each, on the same server. List: processor time of the client, "
    "as a whole and without its start. Reports: one client that reports without pause. "
    "`make bench CASE=fleet` measures it alone; the first time it installs nova into .venv-nova.",
}
PLOTS = {"start": "start.svg", "memory": "memory.svg", "calls": "calls.svg", "scale": "scale.svg"}
HEADINGS = {
    "start": "Start",
    "memory": "Memory",
    "recovery": "Recovery",
    "footprint": "What a worker costs",
    "idle": "Idle",
    "stop": "Stop",
    "reload": "Rolling reload",
    "calls": "Calls",
    "commands": "Commands",
    "scale": "Scale",
    "respawns": "500 respawns",
    "visitors": "Visitors of the control socket",
    "fleet": "A fleet in the database",
    "program": "A program of OpenStack",
}


def write(results: Results) -> None:
    """The report and its plots."""
    from tests.bench import plots  # noqa: PLC0415  # matplotlib, which the text does without

    plots.draw(results, HERE)
    tried = TRIED.read_text() if TRIED.exists() else ""
    REPORT.write_text(render(results, tried))


def render(results: Results, tried: str = "") -> str:
    """The text."""
    sections = [INTRODUCTION, *_machine(results), *_targets(results)]
    if tried:
        sections.append(tried.rstrip() + "\n")
    sections += ["## Who is measured\n", _table(("", ""), SYSTEMS.items()), FAIRNESS]
    for case, heading in HEADINGS.items():
        records = [one for one in results.records if one.case == case]
        if records:
            sections += _case(case, heading, records)
    return "\n".join(sections)


def _machine(results: Results) -> Iterator[str]:
    facts = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    yield f"Measured on: {facts}.\n"


def _targets(results: Results) -> Iterator[str]:
    rows = []
    for target in TARGETS:
        found = target.find(results)
        verdict = "not measured" if found is None else "met" if target.met(found) else "**missed**"
        if found and not _has_shared_heap(results) and target.number == SHARED_HEAP:
            verdict = "from Python 3.12 on"
        measured = "" if found is None else f"{found}{target.unit}"
        rows.append((str(target.number), target.text, target.limit_text(), measured, verdict))
    yield "## Targets\n"
    yield _table(("", "target", "limit", "measured", ""), rows)


def _has_shared_heap(results: Results) -> bool:
    version = results.machine.get("Python", "3.12").split(".")
    return tuple(map(int, version[:2])) >= (3, 12)


def _case(case: str, heading: str, records: Sequence[Record]) -> Iterator[str]:
    yield f"## {heading}\n"
    yield NOTES[case] + "\n"
    names = list(dict.fromkeys(name for one in records for name in one.values))
    ratio = case != "respawns" and {systems.OURS, systems.FLOOR} <= set(names)
    head = ("N", "bus", "", *(("ours / floor",) if ratio else ()), *names)
    yield _table(head, (_row(one, names, with_ratio=ratio) for one in _in_order(records)))
    if case in PLOTS:
        yield f"![{heading}]({PLOTS[case]})\n"


def _in_order(records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=lambda one: (one.what, one.bus, one.n))


def _row(record: Record, names: Sequence[str], *, with_ratio: bool) -> list[str]:
    what = f"{record.what}, {record.unit}" if record.unit else record.what
    cells = [str(record.n), record.bus, what]
    if with_ratio:
        cells.append(_ratio(record))
    return cells + [_cell(record, name) for name in names]


def _ratio(record: Record) -> str:
    if not {systems.OURS, systems.FLOOR} <= record.values.keys():
        return ""
    if not record.median(systems.FLOOR):
        return ""
    return f"**{significant(record.ratio(systems.OURS, systems.FLOOR)):g}**"


def _cell(record: Record, name: str) -> str:
    values = record.values.get(name)
    if not values:
        return ""
    shown = f"{significant(record.median(name)):g}"
    if len(values) == 1 or min(values) == max(values):
        return shown
    return f"{shown} ({significant(min(values)):g}–{significant(max(values)):g})"  # noqa: RUF001


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)

"""The benchmark suite: ours beside its peers. No test: nothing here asserts a time.

    python -m tests.bench                    all cases, and the report anew
    python -m tests.bench start --n 4        one case, one number of workers
    python -m tests.bench report             only the report, of what was measured last

A line of JSON a figure on stdout; all values go to results.json, and from there to RESULTS.md.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from tests.bench import record, report
from tests.bench.cases import (
    Plan,
    calls,
    commands,
    fleet,
    footprint,
    idle,
    line,
    lives,
    program,
    recovery,
    reload,
    scale,
    visitors,
)
from tests.bench.systems import FLOOR, Bench

ROUNDS = 5  # of a case
ROUNDS_OF_ALL = 3  # of all cases, which take some 24 minutes then; fewer are shown, and not kept

Case = Callable[[Plan], Iterator[record.Record]]

CASES: dict[str, Case] = {
    "start": lives.start,
    "memory": lives.memory,
    "stop": lives.stop,
    "recovery": recovery.recovery,
    "footprint": footprint.footprint,
    "idle": idle.idle,
    "reload": reload.reload,
    "calls": calls.calls,
    "commands": commands.commands,
    "scale": scale.scale,
    "line": line.line,
    "respawns": scale.respawns,
    "visitors": visitors.visitors,
    "fleet": fleet.fleet,
    "program": program.program,
}
# All of them, in one run: the first three are of the same starts.
ALL: tuple[Case, ...] = (
    lives.lives,
    recovery.recovery,
    footprint.footprint,
    idle.idle,
    reload.reload,
    calls.calls,
    commands.commands,
    scale.scale,
    line.line,
    scale.respawns,
    visitors.visitors,
    fleet.fleet,
    program.program,
)


def main(argv: Sequence[str]) -> None:
    """Measure what is asked for, then render."""
    options = parse(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # with all cleaned up
    try:
        if options.cases != ["report"]:
            chosen = [CASES[name] for name in options.cases if name in CASES] or ALL
            measure(chosen, options)
    finally:
        results = record.stored()
        if results.records:
            report.write(results)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    # Not by `choices`, which refuses none at all (https://github.com/python/cpython/issues/53834).
    parser.add_argument("cases", nargs="*", type=_case, metavar="CASE")
    parser.add_argument("--n", type=int, nargs="+", default=[], help="numbers of workers")
    parser.add_argument(
        "--rounds",
        type=int,
        help=f"{ROUNDS}, of all cases {ROUNDS_OF_ALL}; fewer than {ROUNDS_OF_ALL} are not kept",
    )
    parser.add_argument("--base", default="", help="a commit of ours to measure beside this one")
    parser.add_argument("--bus", choices=("rabbit", "unix"), default="rabbit")
    options = parser.parse_args(argv)
    options.rounds = options.rounds or (ROUNDS if options.cases else ROUNDS_OF_ALL)
    return options


def _case(name: str) -> str:
    if name not in {*CASES, "report"}:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(CASES)} and report")
    return name


def measure(cases: Sequence[Case], options: argparse.Namespace) -> None:
    """Save after each figure: a run that is broken off is not lost. A quick look, of fewer rounds,
    is no measurement."""
    machine = record.machine()
    with Bench(options.base) as bench:
        plan = Plan(bench, options.rounds, options.n, options.bus)
        for case in cases:
            began = time.monotonic()
            for one in case(plan):
                sys.stdout.write(one.line(FLOOR) + "\n")
                sys.stdout.flush()
                if options.rounds >= ROUNDS_OF_ALL:
                    record.save(record.load(machine).with_new([one]))
            sys.stderr.write(f"{case.__name__}: {time.monotonic() - began:.0f} s\n")


if __name__ == "__main__":
    main(sys.argv[1:])

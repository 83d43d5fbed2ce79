"""Scale: ours with more and more workers; the monitor by itself; and hundreds of deaths."""

import threading
import time
from collections.abc import Iterator

from launcher.board.board import Board
from launcher.board.states import Step, WorkerState
from launcher.supervise.watch.monitor import Monitor
from launcher.supervise.watch.notify import Notifier
from tests.bench import usage
from tests.bench.cases import Plan
from tests.bench.record import Record
from tests.bench.systems import OURS, Running
from tests.support.waiting import elapse

SIZES = {"unix": (1, 4, 16, 64, 256), "rabbit": (1, 4, 16, 64)}
SETTLE_SECONDS = 2.0
WATCH_SECONDS = 1.5  # of a round
ROUNDS_OF_THE_MONITOR = 200  # in which its round is timed
START_SECONDS = 90.0
RESPAWNS, WARM_UP = 500, 20
UNITS = {"start": "s", "pss": "MB", "master": "ms/s"}


def scale(plan: Plan) -> Iterator[Record]:
    """One start of each size on each bus, and rounds of looking at its master."""
    for bus, sizes in SIZES.items():
        for n in plan.sizes or sizes:
            with plan.bench.system(OURS, n, bus) as running:
                found = {"start": [running.seconds], **_look_at(running, plan.rounds)}
            for what, values in found.items():
                yield Record("scale", what, UNITS[what], n, bus, {OURS: values})
    for n in plan.sizes or SIZES["unix"]:
        values = [round(_monitor_round(n), 4) for _ in range(plan.rounds)]
        yield Record("scale", "round of the monitor", "ms", n, "none", {OURS: values})


def _look_at(running: Running, rounds: int) -> dict[str, list[float]]:
    elapse(SETTLE_SECONDS)
    master = [running.launcher.master()]
    shares = []
    for _ in range(rounds):
        before = usage.activity(master)
        elapse(WATCH_SECONDS)
        cpu, _switches = usage.activity(master).since(before)
        shares.append(round(1000 * cpu / WATCH_SECONDS, 3))
    pss = usage.memory(usage.tree(running.launcher.pid)).pss
    return {"master": shares, "pss": [round(pss, 1)]}


def _monitor_round(n: int) -> float:
    """Milliseconds of a round when all serve: looking, judging and telling nobody."""
    board = Board()
    board.want(n, START_SECONDS)
    for number in range(n):
        slot = board.slot(number)
        slot.occupy(threading.get_native_id(), START_SECONDS)
        slot.begin(Step.PROBE, START_SECONDS)
        slot.serve(0, 0)
        assert slot.state is WorkerState.SERVING
    monitor = Monitor(board, Notifier(None))
    monitor.round()
    began = time.perf_counter()
    for _ in range(ROUNDS_OF_THE_MONITOR):
        monitor.round()
    return 1000 * (time.perf_counter() - began) / ROUNDS_OF_THE_MONITOR


def respawns(plan: Plan) -> Iterator[Record]:
    """What the master has open and in memory before and after hundreds of deaths."""
    n = plan.n()
    with plan.bench.system(OURS, n, "unix") as running:
        _kill_again_and_again(running, n, WARM_UP)
        before = _rested(running)
        _kill_again_and_again(running, n, RESPAWNS)
        after = _rested(running)
    for what, value in before.items():
        values = {"before": [value], "after": [after[what]]}
        unit = "MB" if what == "uss" else ""
        yield Record("respawns", what, unit, n, "unix", values)


def _kill_again_and_again(running: Running, n: int, times: int) -> None:
    target = running.proofs + times
    while running.proofs < target:
        proofs = running.proofs
        running.kill(list(running.serving))
        running.wait_for_proofs(proofs + n)


def _rested(running: Running) -> dict[str, float]:
    elapse(2.0)
    return usage.resources(running.launcher.master())

"""From a fault in a worker to its end, and to its successor having proven itself, fault by fault.

    python -m tests.bench.faults [--rounds N]

Under the time limits of `tests.functional.service.faults.FAST`; a line of JSON a fault, in s.
"""

import argparse
import json
import signal
import statistics
import sys
import time
from pathlib import Path

from tests.functional.service.faults import Fault, commands, sends, with_options, workers
from tests.support.processes import Launcher

CHECKOUT = Path(__file__).parents[2]
FAULTS: dict[str, Fault] = {
    "SIGKILL": sends(signal.SIGKILL),
    "SIGSEGV": sends(signal.SIGSEGV),
    "SIGSTOP": sends(signal.SIGSTOP),
    "exit": commands("exit"),
    "GIL held": commands("hold_the_gil"),
    "task stuck": commands("hang"),
    "loop deadlocked": commands("lose_the_loop"),
    "loop died": commands("break_the_loop"),
    "RPC wedged": commands("wedge_rpc"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    config = with_options(
        DEFAULT={"workers": 2, "manager": "tests.functional.service.managers:Faulty"},
        supervision={"stable_after": 0},
    )
    with Launcher(config=config, env={"PYTHONPATH": str(CHECKOUT)}) as service:
        service.wait_ready()
        for name, fault in FAULTS.items():
            times = [strike(service, fault) for _ in range(rounds)]
            report(name, [found for found, _, _ in times], [proven for _, proven, _ in times])
            sys.stdout.write(f"  {times[-1][2]}\n")


def strike(service: Launcher, fault: Fault) -> tuple[float, float, str]:
    """Seconds to the end of the worker and to the next one, and what an operator read."""
    victim = workers(service)[1]["pid"]
    since = len(service.output)
    begun = time.monotonic()
    fault(service, victim)
    said = service.wait_for_line(rf"worker 1 pid {victim} ended: .*", since=since)[0]
    found = time.monotonic() - begun
    service.wait_for_line(r"worker=1 pid=\d+ serving", since=since)
    return found, time.monotonic() - begun, said


def report(name: str, found: list[float], proven: list[float]) -> None:
    facts: dict[str, object] = {"fault": name, "rounds": len(found)}
    for what, values in (("ended", found), ("proven_again", proven)):
        facts[f"{what}_median"] = round(statistics.median(values), 2)
        facts[f"{what}_worst"] = round(max(values), 2)
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

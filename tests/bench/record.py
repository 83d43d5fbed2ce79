"""What was measured: a record a figure, with all values of all systems; and on what machine."""

import json
import platform
import re
import statistics
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results.json"
LIBRARIES = (
    "oslo.messaging",
    "oslo.service",
    "oslo.config",
    "cotyledon",
    "SQLAlchemy",
    "kombu",
    "amqp",
    "eventlet",
)
GIGABYTE = 2**30

Key = tuple[str, str, str, int]


@dataclass(frozen=True, slots=True)
class Record:
    """One figure of one case. `values`: a list by system, one value a round."""

    case: str
    what: str
    unit: str
    n: int  # workers
    bus: str
    values: Mapping[str, Sequence[float]] = field(hash=False)

    @property
    def key(self) -> Key:
        """Of two with the same one the later counts."""
        return (self.case, self.what, self.bus, self.n)

    def median(self, system: str) -> float:
        """Over the rounds."""
        return statistics.median(self.values[system])

    def ratio(self, one: str, other: str) -> float:
        """Of the medians."""
        return self.median(one) / self.median(other)

    def spread_of_ratio(self, one: str, other: str) -> tuple[float, float]:
        """Least and greatest of the ratios within a round."""
        ratios = [a / b for a, b in zip(self.values[one], self.values[other], strict=False) if b]
        return (min(ratios), max(ratios)) if ratios else (0.0, 0.0)

    def line(self, reference: str) -> str:
        """One line of JSON, ratios of the others to the reference first."""
        facts: dict[str, Any] = {"case": self.case, "what": self.what, "n": self.n}
        if len(self.values) > 1 and self.values.get(reference) and self.median(reference):
            facts["ratios"] = {
                f"{name}/{reference}": significant(self.ratio(name, reference))
                for name in self.values
                if name != reference
            }
        facts |= {"bus": self.bus, "unit": self.unit}
        for name, values in self.values.items():
            facts[name] = {
                "median": significant(statistics.median(values)),
                "min": significant(min(values)),
                "max": significant(max(values)),
                "rounds": len(values),
            }
        return json.dumps(facts, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Results:
    """All records, and what they were measured on."""

    machine: Mapping[str, str]
    records: tuple[Record, ...]

    def find(self, case: str, what: str, n: int, bus: str = "rabbit") -> Record | None:
        """One of them."""
        key = (case, what, bus, n)
        return next((one for one in self.records if one.key == key), None)

    def some(self, case: str, what: str, bus: str = "rabbit") -> list[Record]:
        """Those of all sizes, in their order."""
        found = (one for one in self.records if (one.case, one.what, one.bus) == (case, what, bus))
        return sorted(found, key=lambda one: one.n)

    def with_new(self, records: Iterable[Record]) -> "Results":
        """These, and of the others those that are not measured anew."""
        new = {one.key: one for one in records}
        merged = {one.key: one for one in self.records} | new
        return Results(self.machine, tuple(merged.values()))


def load(machine: Mapping[str, str], path: Path = RESULTS) -> Results:
    """What was measured earlier; on another machine or with other versions it does not count."""
    if not path.exists():
        return Results(machine, ())
    stored = json.loads(path.read_text())
    if stored["machine"] != machine:
        return Results(machine, ())
    return Results(machine, tuple(Record(**one) for one in stored["records"]))


def stored(path: Path = RESULTS) -> Results:
    """What is in the file, wherever it was measured."""
    if not path.exists():
        return Results({}, ())
    found = json.loads(path.read_text())
    return Results(found["machine"], tuple(Record(**one) for one in found["records"]))


def save(results: Results, path: Path = RESULTS) -> None:
    """For the report, and for the next run, which may measure one case only."""
    records = ",\n".join(
        json.dumps(asdict(one), ensure_ascii=False)
        for one in sorted(results.records, key=lambda one: one.key)
    )
    machine = json.dumps(dict(results.machine), ensure_ascii=False, indent=1)
    path.write_text(f'{{"machine": {machine},\n"records": [\n{records}\n]}}\n')


def interleave(
    rounds: int, systems: Iterable[str], measure: Callable[[str], Mapping[str, float]]
) -> dict[str, dict[str, list[float]]]:
    """A B C A B C: what each measurement gave, by figure and system."""
    names = list(systems)
    found: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for name in names:
            for what, value in measure(name).items():
                found.setdefault(what, {}).setdefault(name, []).append(round(value, 6))
    return found


def significant(value: float, digits: int = 3) -> float:
    """Rounded to so many significant digits."""
    return float(f"{value:.{digits}g}")


def machine() -> dict[str, str]:
    """Processor, memory, kernel and versions; no name and no path."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    facts = {
        "processor": model[1] if model else platform.machine(),
        "cores": str(cpuinfo.count("\nprocessor") + cpuinfo.startswith("processor")),
        "memory": f"{int(memory[1]) * 1024 / GIGABYTE:.0f} GiB" if memory else "unknown",
        "kernel": platform.release().partition("-")[0],  # builds of one version come and go
        "Python": platform.python_version(),
        "RabbitMQ": _rabbitmq_version(),
    }
    return facts | {name: version(name) for name in LIBRARIES}


def _rabbitmq_version() -> str:
    shown = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Version}", "rabbitmq-server"],
        capture_output=True,
        text=True,
        check=False,
    )
    return shown.stdout or "unknown"

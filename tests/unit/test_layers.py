"""DESIGN's picture of the layers is true: every import goes down."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Low to high. A module imports from the rows below its own; within its own row only from its own
# package. `x.*` is every module of a package that has no place of its own.
LAYERS = (
    """
    launcher launcher.board launcher.cli launcher.compute launcher.conductor launcher.config
    launcher.dev launcher.directories launcher.listening launcher.program launcher.rabbit
    launcher.registry
    launcher.serve launcher.supervise launcher.supervise.watch launcher.supervise.processes
    launcher.supervise.operations launcher.supervise.control launcher.supervise.upgrade
    launcher.unixbus launcher.writing
    """,
    """
    launcher.native_threads launcher.core_dumps launcher.deadline launcher.foreign_text
    launcher.exception_text launcher.peer_credentials launcher.blocked_signals
    """,
    "launcher.errors",
    "launcher.task_shortage",
    """
    launcher.rpc_results launcher.directories.* launcher.listening.* launcher.board.*
    launcher.writing.*
    """,
    "launcher.config.*",
    "launcher.registry.* launcher.rabbit.* launcher.unixbus.*",
    "launcher.registry.migrations.* launcher.registry.migrations.versions.*",
    "launcher.conductor.encoding launcher.conductor.remote_registry",
    """
    launcher.serve.rpc launcher.serve.forked_children launcher.serve.calls_in_hand
    launcher.serve.slow_calls launcher.serve.call_threads
    launcher.serve.lead
    launcher.serve.backoff launcher.serve.backdoor launcher.serve.profiling
    launcher.serve.tracing launcher.serve.tracing_provider
    launcher.serve.remote_pdb launcher.serve.debugger
    launcher.serve.invalid_calls launcher.serve.hooks
    """,
    "launcher.serve.manager launcher.serve.rpc_server launcher.serve.redelivery",
    "launcher.serve.task launcher.serve.manager_checks",
    "launcher.serve.* launcher.compute.* launcher.conductor.conductor_manager",
    "launcher.program.*",
    "launcher.serve.worker",
    "launcher.supervise.policy",
    "launcher.supervise.watch.*",
    "launcher.supervise.processes.*",
    "launcher.supervise.operations.*",
    "launcher.supervise.upgrade.*",
    "launcher.supervise.control.*",
    "launcher.supervise.before_fork launcher.supervise.wiring",
    "launcher.supervise.master",
    "launcher.dev.*",
    "launcher.cli.*",
    "launcher.__main__",
)
ROW = {name: number for number, names in enumerate(LAYERS) for name in names.split()}

WORKER, MASTER = "launcher.serve.worker", "launcher.supervise.master"


@cache
def read_sources() -> Mapping[str, str]:
    """The text of every module of the program, by its name."""
    paths = sorted(Path(ROOT, "launcher").rglob("*.py"))
    return {module_name(path): path.read_text() for path in paths}


def module_name(path: Path) -> str:
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return dotted.removesuffix(".__init__")


def faults(sources: Mapping[str, str]) -> list[str]:
    """What is wrong with the imports of these modules, each as a sentence."""
    found = [f"{name} has no place in LAYERS" for name in sources if row(name) is None]
    for name, imported in imports(sources):
        if not goes_down(name, imported):
            found.append(f"{name} imports {imported}, which is no lower")
        if package(name) == "launcher.serve" and imported.startswith("launcher.supervise"):
            found.append(f"{name} imports {imported}: a worker knows nothing of its master")
        if imported == WORKER and name != MASTER:
            found.append(f"{name} imports {imported}: only {MASTER} names the worker class")
    return found + cycles(sources)


def imports(sources: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(importing module, imported module) for every import of ours, wherever it is written."""
    for name, text in sources.items():
        for target in ours(text):
            yield name, target if target in sources else target.rpartition(".")[0]


@cache
def ours(text: str) -> tuple[str, ...]:
    """What a source imports of ours."""
    found = (target for node in ast.walk(ast.parse(text)) for target in targets(node))
    return tuple(target for target in found if target.split(".")[0] == "launcher")


def targets(node: ast.AST) -> list[str]:
    """The full dotted names that a statement imports, `from a import b` as a.b."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def row(name: str) -> int | None:
    """The number of a module's row, 0 the lowest; None when it has no place."""
    return ROW.get(name, ROW.get(f"{package(name)}.*"))


def goes_down(name: str, imported: str) -> bool:
    above, below = row(name), row(imported)
    if above is None or below is None:
        return True  # named as such already
    return below < above or (below == above and package(name) == package(imported))


def package(name: str) -> str:
    return name.rpartition(".")[0]


def cycles(sources: Mapping[str, str]) -> list[str]:
    graph: dict[str, set[str]] = {}
    for name, imported in imports(sources):
        graph.setdefault(name, set()).add(imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [f"{' -> '.join(error.args[1])} is a circle"]
    return []


def test_every_module_has_its_place_and_imports_only_from_below() -> None:
    assert faults(read_sources()) == []


def test_every_place_in_the_table_is_taken() -> None:
    names = {*read_sources(), *(f"{package(name)}.*" for name in read_sources())}
    assert sorted(set(ROW) - names) == []


@pytest.mark.parametrize(
    ("name", "planted", "fault"),
    [
        ("launcher.board.board", "import launcher.cli.main", "no lower"),
        ("launcher.errors", "from launcher.supervise.watch.notify import Notifier", "no lower"),
        (
            "launcher.unixbus.driver",
            "from launcher.registry.records import ComputeNode",
            "no lower",
        ),
        (
            "launcher.supervise.watch.health",
            "from launcher.supervise.control import status",
            "no lower",
        ),
        (
            "launcher.compute.compute_manager",
            "def f():\n    from launcher.serve import service",
            "no lower",
        ),
        (
            "launcher.serve.service",
            "from launcher.supervise import health",
            "nothing of its master",
        ),
        (
            "launcher.cli.main",
            "from launcher.serve.worker import Worker",
            "only launcher.supervise",
        ),
        ("launcher.cli.main", "from launcher.serve import worker", "only launcher.supervise"),
        ("launcher.board.states", "from launcher.board.states import check", "circle"),
        ("launcher.telepathy.mind", "", "no place"),
        ("launcher.oracle", "", "no place"),
    ],
)
def test_a_planted_fault_is_found(name: str, planted: str, fault: str) -> None:
    sources = {**read_sources()}
    sources[name] = f"{sources.get(name, '')}\n{planted}\n"
    assert [one for one in faults(sources) if name in one and fault in one]

"""Changes one operator after the other in what judges, and tells which changes no test notices.

Works on a copy in .mutants, so that no end of it leaves a change behind. Exit status 1: of some
module, fewer than 95 % are noticed. What may remain is explained in tests/mutants.md.
"""

import ast
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from string import Template
from typing import Any

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

Place = tuple[int, int]  # line and column
Span = tuple[Place, Place]

TOP = Path(__file__).parents[2]
WORK = TOP / ".mutants"
TREE = WORK / "tree"
COPIED = ("launcher", "tests/support", "tests/unit")
LEAST_PERCENT = 95
ADVICE = (
    "For each change shown above, write a test of what a user would observe, "
    "or explain in tests/mutants.md why nobody can."
)

# What is changed, and the tests that are to notice it.
TESTS = {
    "launcher/supervise/watch/health.py": "health",
    "launcher/supervise/watch/headline.py": "health",
    "launcher/supervise/watch/suspicion.py": "health",
    "launcher/supervise/processes/restarts.py": "restarts",
    "launcher/supervise/watch/observation.py": "health_checks",
    "launcher/supervise/control/health_checks.py": "health_checks",
    "launcher/supervise/operations/roll.py": "roll roll_steps",
    "launcher/supervise/processes/life.py": "life",
    "launcher/supervise/processes/lives.py": "life roll_steps",
    "launcher/serve/task.py": "task",
    "launcher/serve/calls_in_hand.py": "calls_in_hand",
    "launcher/board/slot.py": "board interleavings",
    "launcher/board/slot_fields.py": "board interleavings",
}


def main() -> int:
    parser = ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only modules with one of these in their path")
    words = parser.parse_args().words
    modules = [module for module in TESTS if not words or any(word in module for word in words)]
    if not modules:
        parser.error(f"no module has {' or '.join(words)} in its path: {', '.join(TESTS)}")
    _copy()
    enough = [_try_out(module) for module in modules]
    if all(enough):
        return 0
    _say(f"Fewer than {LEAST_PERCENT} % of some module are noticed. {ADVICE}")
    return 1


def _copy() -> None:
    shutil.rmtree(WORK, ignore_errors=True)
    for name in COPIED:
        shutil.copytree(TOP / name, TREE / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "tests/__init__.py", "tests/conftest.py"):
        shutil.copy(TOP / name, TREE / name)


def _try_out(module: str) -> bool:
    """Say how many changes of a module are noticed, and show the others; whether these are few."""
    name = Path(module).stem
    config, session = WORK / f"{name}.toml", WORK / f"{name}.sqlite"
    config.write_text(_configuration(module))
    _check_unchanged(module, config)
    _run("cosmic-ray", "init", str(config), str(session))
    _run("cr-filter-operators", str(session), str(config))
    with use_db(session, WorkDB.Mode.open) as database:
        _leave_out(database, module)
        _run("cosmic-ray", "exec", str(config), str(session))
        tried = [done for done in database.completed_work_items if _was_tried(done[1])]
    remaining = [done for done in tried if done[1].test_outcome is not TestOutcome.KILLED]
    noticed = len(tried) - len(remaining)
    percent = 100 * noticed / len(tried)
    slow = [done for done in tried if _was_slow(done[1])]
    _say(
        f"{module}: {noticed} of {len(tried)} changes noticed, {percent:.1f} %, "
        f"{len(slow)} of them by a test that did not end in time"
    )
    for _, result in sorted(remaining, key=lambda done: done[0].mutations[0].start_pos):
        _say(_shown(result))
    return percent >= LEAST_PERCENT


def _configuration(module: str) -> str:
    template = Template(Path(__file__).with_name("cosmic-ray.toml").read_text())
    tests = " ".join(f"tests/unit/test_{name}.py" for name in TESTS[module].split())
    return template.substitute(module=module, tests=tests, python=sys.executable)


def _check_unchanged(module: str, config: Path) -> None:
    """Exit unless the tests of a module pass without a change; else each would be noticed."""
    command = shlex.split(tomllib.loads(config.read_text())["cosmic-ray"]["test-command"])
    done = _started(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        _say(done.stdout)
        sys.exit(f"The tests of {module} fail without any change: mend them first (`make unit`).")


def _run(program: str, *arguments: str) -> None:
    done = _started([str(Path(sys.executable).with_name(program)), *arguments])
    if done.returncode != 0:
        sys.exit(
            f"{program} {arguments[0]} has ended with status {done.returncode}, see above. "
            "`make clean mutants` installs it anew."
        )


def _started(command: Sequence[str], **facts: Any) -> "subprocess.CompletedProcess[str]":
    """With no plugins but those that the tests need: most of a run is its start."""
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "200"}
    return subprocess.run(command, cwd=TREE, env=environment, check=False, text=True, **facts)


def _leave_out(database: Any, module: str) -> None:
    pointless = _pointless((TREE / module).read_text())
    skipped = WorkResult(worker_outcome=WorkerOutcome.SKIPPED)
    for item in database.pending_work_items:
        if pointless(item.mutations[0]):
            database.set_result(item.job_id, skipped)


def _pointless(source: str) -> Callable[[Any], bool]:
    """Whether a change is none of an operator, though cosmic-ray takes it for one: in an
    annotation, which Python refuses by itself, or at the star of `*arguments`. Such changes are
    always noticed, or never."""
    nodes = list(ast.walk(ast.parse(source)))
    fields = ("annotation", "returns")
    hints = [
        _span(hint) for node in nodes for name in fields if (hint := getattr(node, name, None))
    ]
    binary = [_span(node) for node in nodes if isinstance(node, ast.BinOp | ast.AugAssign)]

    def check(mutation: Any) -> bool:
        place = mutation.start_pos
        is_binary = "ReplaceBinaryOperator" in mutation.operator_name
        return _within(place, hints) or (is_binary and not _within(place, binary))

    return check


def _span(node: Any) -> Span:
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def _within(place: Place, spans: Sequence[Span]) -> bool:
    return any(start <= place < end for start, end in spans)


def _was_tried(result: Any) -> bool:
    return bool(result.worker_outcome is not WorkerOutcome.SKIPPED)


def _was_slow(result: Any) -> bool:
    """Whether a limit of time has noticed it. That is a fault for who waits; but on a machine that
    has much else to do, a test without a fault may take as long."""
    return result.output == "timeout" or "Failed: Timeout" in result.output


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _shown(result: Any) -> str:
    """The place and the two lines of a difference."""
    lines = result.diff.splitlines() if result.diff else [result.output]
    return "\n".join(line for line in lines if line[:2] != "--" and line[:1] in "@-+")


if __name__ == "__main__":
    sys.exit(main())

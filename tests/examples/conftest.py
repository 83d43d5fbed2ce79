"""Runs the example beside a test by the command at the head of its README."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.commands import Completed
from tests.support.processes import Launcher

Start = Callable[[], Launcher]


@pytest.fixture
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Starts it, with directories of its own, and returns when it is ready; ends it in the end."""
    folder = tmp_path / "example"
    shutil.copytree(request.path.parent, folder)  # to be ours, whoever has made the checkout
    with ExitStack() as stack:

        def begin() -> Launcher:
            command = ("sh", "-c", command_of(folder))
            service = stack.enter_context(Launcher(command=command, cwd=folder))
            service.wait_ready()
            return service

        yield begin


def command_of(folder: Path) -> str:
    """The first of a README's commands."""
    lines = (folder / "README.md").read_text().splitlines()
    return next(line.strip() for line in lines if line.startswith("    "))


def in_background(service: Launcher, *words: str) -> "Future[Completed]":
    """A client command that runs while the test goes on."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(service.run_command, *words)
    finally:
        pool.shutdown(wait=False)

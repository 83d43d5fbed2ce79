"""Other users, for tests that root runs."""

import os
import sys
from pathlib import Path

import pytest

ALICE = 41001  # user ids that nobody has
BOB = 41002

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can play another user")


def as_user(user: int, directory: Path) -> list[str]:
    """What goes before a command that this user is to run, with the interpreter of these tests.

    :param directory: where he reaches what is his, whatever it lies in.
    """
    return [sys.executable, str(Path(__file__).with_name("become.py")), str(user), str(directory)]

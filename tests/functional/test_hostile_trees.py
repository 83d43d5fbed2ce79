"""Whatever lies in a directory of another user, root's commands harm nothing beside it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.directories import short_directory
from tests.support.users import needs_root

PROGRAM = Path(__file__).with_name("hostile_trees.py")
SEED = int(os.environ.get("TREES_SEED", "20261128"))
TREES = int(os.environ.get("TREES", "60"))  # a thousand, by hand
DEADLINE = 30.0 + 2.0 * TREES  # seconds


@needs_root
@pytest.mark.timeout(DEADLINE + 30)
def test_nothing_outside_of_a_hostile_tree_changes() -> None:
    with short_directory() as directory:
        directory.chmod(0o755)
        command = [sys.executable, str(PROGRAM), str(directory), str(SEED), str(TREES)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DEADLINE, check=False
        )

    assert (done.stdout, done.stderr) == (f"{TREES} trees\n", "")

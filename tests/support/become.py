"""Run as root: `python become.py UID DIRECTORY COMMAND…` becomes a user, and then the command.

The directory, the interpreter and the checkout may lie behind directories of root's alone: in a
mount namespace of its own the user reaches them.
"""

import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))

from launcher.directories import mount_namespace  # noqa: E402

user = int(sys.argv[1])
places = (Path(sys.base_prefix), Path(sys.prefix), CHECKOUT, Path(sys.argv[2]))
mount_namespace.make_reachable(user, *places)
os.setgroups([])
os.setresgid(user, user, user)
os.setresuid(user, user, user)
os.execvp(sys.argv[3], sys.argv[3:])

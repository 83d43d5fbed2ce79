"""Random directories of another user, with links, FIFOs, sockets and foreign files in them, and
root's commands over each. Run as root by test_hostile_trees.py:

    python hostile_trees.py DIRECTORY SEED TREES

A canary beside the trees, which anybody may write to, has to stay as it is. What goes wrong is
told on stdout. Commands run in forks of this process: an interpreter for each would take a second.
"""

import hashlib
import os
import random
import shutil
import signal
import socket
import stat
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))

from launcher import native_threads  # noqa: E402

native_threads.require()

from launcher.cli import commands, main  # noqa: E402, F401
from launcher.registry import engine, sqlite, store  # noqa: E402, F401
from launcher.supervise import master  # noqa: E402, F401

ALICE, BOB = 41001, 41002
OWNERS = (ALICE, ALICE, ALICE, BOB, 0)
HOST = "canary-host"
DEADLINE = 30.0  # seconds, for a command
STATUSES = {0, 1, 3, 69, 77, 78}  # of an operator's mistake and of success, and no bug of ours
COMMANDS = (
    "ping --timeout 0.2",
    "ping --worker 0 --timeout 0.2",
    "call get_host_uptime --timeout 0.2",
    "services list",
    "services disable --reason x",
    "status",
    "health",
    "reload",
    "config check",
    "--workers 1",
)
PEER = "77-0123abcd"
MESSAGE = f"{7:020d}.{PEER}.1.c0"
QUEUE = f"launcher,compute,{HOST.replace('-', '-')}"
RUNTIME = (
    "master.lock", "lead.lock", "control.sock", "report.0", ".report.0.1", "backdoor.0", "bus",
    "bus/peers", f"bus/peers/{PEER}", f"bus/peers/{PEER}.sock", f"bus/peers/.{PEER}",
    "bus/replies", f"bus/replies/{PEER}", f"bus/replies/{PEER}/1",
    "bus/queues", f"bus/queues/{QUEUE}", f"bus/queues/{QUEUE}/new", f"bus/queues/{QUEUE}/cur",
    f"bus/queues/{QUEUE}/wake", f"bus/queues/{QUEUE}/new/{MESSAGE}",
    f"bus/queues/{QUEUE}/cur/{MESSAGE}@{PEER}", f"bus/queues/{QUEUE}/cur/odd",
    "bus/queues/x", "bus/queues/x/new", "bus/queues/x/cur", "bus/queues/x/cur/odd@thing",
    "bus/queues/.x", "bus/fanout", "bus/fanout/t", "bus/fanout/t/.old", f"bus/fanout/t/{PEER}.1",
    f"bus/fanout/t/{PEER}.1/new", f"bus/fanout/t/{PEER}.1/cur", f"bus/fanout/t/{PEER}.1/wake",
)  # fmt: skip
STATE = tuple(f"launcher.sqlite{end}" for end in ("", "-wal", "-shm", "-journal"))


class Trees:
    """One after the other, in one place."""

    def __init__(self, directory: Path, dice: random.Random) -> None:
        self.top = directory.resolve() / "tree"
        self.canary = directory / "canary"
        self._dice = dice
        self._plant_canary()

    def _plant_canary(self) -> None:
        """Open to all: what is done here is done through a link, and not for want of rights."""
        for name in ("", "deep", "deep/er", ".hidden", "new", "cur"):
            path = self.canary / name
            path.mkdir()
            path.chmod(0o777)
            for number in range(2):
                file = path / f".file{number}"
                file.write_text(f"{name} {number} is kept\n")
                file.chmod(0o666)
        os.mkfifo(self.canary / "wake")
        (self.canary / "wake").chmod(0o666)
        old = time.time() - 3600
        for path in self.canary.rglob("*"):
            os.utime(path, (old, old))

    def grow(self) -> None:
        """The next one."""
        shutil.rmtree(self.top, ignore_errors=True)
        self.top.mkdir(mode=0o755)
        owner = self._dice.choice((ALICE, ALICE, ALICE, 0))
        for name, parts in (("run", RUNTIME), ("state", STATE)):
            if self._dice.random() < 0.1:
                self._odd(self.top / name)
                continue
            (self.top / name).mkdir(mode=0o700)
            os.chown(self.top / name, owner, owner)
            for part in parts:
                self._plant(self.top / name / part, owner)
        if self._dice.random() < 0.1:
            os.chown(self.top, ALICE, ALICE)
        old = time.time() - 3600
        for path in self.top.rglob("*"):
            if _is_its_own(path):
                os.utime(path, (old, old), follow_symlinks=False)

    def _plant(self, path: Path, owner: int) -> None:
        if os.path.realpath(path.parent) != str(path.parent) or not path.parent.is_dir():
            return  # not by ourselves through one of our links
        choice = self._dice.random()
        if choice < 0.15:
            return
        if choice < 0.45:
            self._odd(path)
        else:
            self._usual(path)
        user = self._dice.choice(OWNERS) if self._dice.random() < 0.1 else owner
        if _is_its_own(path):
            os.lchown(path, user, user)

    def _usual(self, path: Path) -> None:
        if path.name == "wake":
            os.mkfifo(path, 0o600)
        elif path.suffix == ".sock":
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
                bound.bind(str(path))
        elif "." in path.name or path.name.startswith(("odd", "7", "0")):
            path.write_bytes(self._dice.choice((b"", b"{}", b'{"version": 1}', b"x" * 5000)))
        else:
            path.mkdir(mode=0o700)

    def _odd(self, path: Path) -> None:
        inside = sorted(self.canary.rglob("*"))
        directories = [one for one in inside if one.is_dir()] + [self.canary]
        files = [one for one in inside if one.is_file()]
        plants: list[Callable[[], object]] = [
            lambda: path.symlink_to(self._dice.choice(directories)),
            lambda: path.symlink_to(self._dice.choice(directories)),
            lambda: path.symlink_to(self._dice.choice(files)),
            lambda: path.symlink_to(self.canary / "dangling"),
            lambda: path.symlink_to(self.canary / "wake"),
            lambda: path.symlink_to(path.name),
            lambda: os.link(self._dice.choice(files), path),
            lambda: os.link(self.canary / "wake", path),
            lambda: os.mkfifo(path),
            lambda: path.mkdir(mode=self._dice.choice((0o700, 0o777, 0o000))),
            lambda: path.write_bytes(b"odd"),
        ]
        self._dice.choice(plants)()

    def kept(self) -> list[tuple[object, ...]]:
        """All that can be said of the canary."""
        return list(_describe(self.canary))


def _is_its_own(path: Path) -> bool:
    """And no second name of something of the canary's."""
    facts = path.lstat()
    return stat.S_ISDIR(facts.st_mode) or facts.st_nlink == 1


def _describe(top: Path) -> Iterator[tuple[object, ...]]:
    for path in sorted([top, *top.rglob("*")]):
        facts = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(facts.st_mode) else b""
        digest = hashlib.sha256(content).hexdigest()
        yield (str(path), facts.st_mode, facts.st_uid, facts.st_gid, facts.st_mtime_ns, digest)


def run(words: str, top: Path, output: Path) -> tuple[int, str]:
    """Status and output of a command."""
    pid = os.fork()
    if pid == 0:
        _become_command(words, top, output)
    end = time.monotonic() + DEADLINE
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), output.read_text(errors="replace")
        if time.monotonic() >= end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return -99, output.read_text(errors="replace") + "\nit did not end"
        time.sleep(0.002)


def _become_command(words: str, top: Path, output: Path) -> None:
    status = 99
    try:
        os.setsid()
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.environ.update(STATE_DIRECTORY=str(top / "state"), RUNTIME_DIRECTORY=str(top / "run"))
        status = main.main(["compute-launcher", f"--host={HOST}", *words.split()])
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 98
    except BaseException:  # noqa: BLE001  # whatever it is, the loop tells it
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def is_foreign(top: Path) -> bool:
    """Whether a service of root's has to refuse it."""
    places = (top, top / "run", top / "state")
    return any(place.is_symlink() or place.stat().st_uid for place in places if place.exists())


def try_all(directory: Path, seed: int, count: int) -> str:
    """Grow, run, compare; what went wrong first, or how many trees there were."""
    dice = random.Random(seed)
    trees = Trees(directory, dice)
    before = trees.kept()
    for number in range(count):
        trees.grow()
        for words in dice.sample(COMMANDS, 4):
            if words.startswith("--workers") and not is_foreign(trees.top):
                continue
            status, said = run(words, trees.top, directory / "output")
            after = trees.kept()
            if after != before or status not in STATUSES or "Traceback" in said:
                changed = sorted(set(map(str, after)) ^ set(map(str, before)))
                return f"tree {number}: {words}: {status}, changed {changed}: {said[-1500:]}"
    return f"{count} trees"


if __name__ == "__main__":
    sys.stdout.write(try_all(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])) + "\n")

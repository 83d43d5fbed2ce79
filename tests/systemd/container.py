"""One container with a real systemd as its PID 1.

Its root is this machine's, or the one that $LAUNCHER_TEST_ROOT names: another release of Debian,
made by mmdebstrap, with systemd, Python and RabbitMQ. It is copied on write to memory. The
container's network is a loopback of its own. The machine's own directories, processes and units
are never touched. Everything needs root, which is taken by sudo where it is to be had without a
password.
"""

import io
import os
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from tests.support.waiting import wait_until
from tests.systemd.control_groups import as_root, remove_groups, unified_hierarchy

ROOT = Path(os.environ.get("LAUNCHER_TEST_ROOT", "/"))
BOOT_SCRIPT = Path(__file__).with_name("boot.sh")
NAMESPACES = (
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "--propagation=private",
)
LEADER_DEADLINE = 20.0  # seconds
BOOT_DEADLINE = 60.0
COMMAND_DEADLINE = 60.0
TIMED_OUT = 124  # timeout(1)
TEARDOWN_DEADLINE = 30.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SETTLED = frozenset({"running", "degraded"})  # systemctl(1): the boot is over


class Container:
    """A booted container; `booted()` makes one."""

    def __init__(self, leader: int) -> None:
        """:param leader: pid, as the machine sees it, of the container's PID 1."""
        self.leader = leader
        self._enter = [*as_root(), "nsenter", f"--target={leader}", "--all"]

    def run(
        self,
        *command: str | Path,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        deadline: float = COMMAND_DEADLINE,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root in an almost empty environment, and wait for its end.

        :param check: raise AssertionError, with all that it printed, for a status other than 0.
        :param deadline: seconds, after which it is ended and AssertionError is raised.
        """
        shell = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": "/root", **(env or {})}
        given = ["env", "-i", *(f"{name}={value}" for name, value in shell.items())]
        bound = ["timeout", "--kill-after=5", str(deadline)]
        words = [*self._enter, *given, *bound, *map(str, command)]
        done = subprocess.run(words, input=stdin, capture_output=True, check=False)
        result = subprocess.CompletedProcess(
            command, done.returncode, _text(done.stdout), _text(done.stderr)
        )
        if done.returncode and (check or done.returncode == TIMED_OUT):
            raise AssertionError(
                f"{' '.join(map(str, command))} ended with {done.returncode}:\n"
                f"{result.stdout}{result.stderr}"
            )
        return result

    def start(self, *command: str | Path) -> "subprocess.Popen[str]":
        """Run a command inside; whether and when to wait for it is the caller's."""
        return subprocess.Popen(
            self.words(*command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def words(self, *command: str | Path) -> list[str]:
        """A command of this machine's that runs a command inside, as `start` does."""
        return [*self._enter, "env", "-i", f"PATH={PATH}", "LANG=C.UTF-8", *map(str, command)]

    def feed(self, source: IO[bytes] | None, *command: str | Path) -> None:
        """Run a command inside that reads from a file of this machine's; it has to succeed."""
        subprocess.run([*self._enter, *map(str, command)], stdin=source, check=True)

    def out(self, *command: str | Path) -> str:
        """What a command prints, without the last line's end; it has to succeed."""
        return self.run(*command).stdout.rstrip("\n")

    def succeeds(self, *command: str | Path) -> bool:
        """Whether the command ends with status 0."""
        return self.run(*command, check=False).returncode == 0

    def put(self, path: str, text: str, mode: str = "0644") -> None:
        """Write a file inside, and the directories that lead to it."""
        Path(path).relative_to("/")
        make = 'mkdir -p "$(dirname "$0")" && rm -f "$0" && cat >"$0" && chmod "$1" "$0"'
        self.run("sh", "-c", make, path, mode, stdin=text.encode())

    def copy_in(self, sources: Iterable[Path], directory: str) -> None:
        """Copy files and whole directories of this machine into a directory inside."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for source in sources:
                tar.add(source, arcname=source.name, filter=_plain)
        self.run("mkdir", "-p", directory)
        self.run("tar", "-x", "-C", directory, stdin=archive.getvalue())


@contextmanager
def booted(name: str) -> Iterator[Container]:
    """A container while the block runs; nothing of it is left afterwards, whatever happens.

    :raises AssertionError: it does not boot; with what its console showed.
    """
    group = f"{name}-{os.getpid()}"
    with TemporaryFile() as console, _boot(group, name, console) as process:
        try:
            leader = wait_until(lambda: _leader(process), LEADER_DEADLINE, "nspawn starts a PID 1")
            container = Container(int(leader or 0))
            wait_until(lambda: _is_settled(container, process), BOOT_DEADLINE, "systemd is up")
        except AssertionError as error:
            console.seek(0)
            raise AssertionError(f"{error}; the console:\n{_text(console.read())}") from error
        yield container


@contextmanager
def _boot(group: str, name: str, console: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The script lives as long as the pipe to it, so that it ends with this process in any case;
    with it goes its process-id namespace, which is all of the container."""
    script = [
        "bash",
        "-c",
        BOOT_SCRIPT.read_text(),
        "boot.sh",
        str(unified_hierarchy() / group),
        name,
        str(ROOT),
    ]
    process = subprocess.Popen(
        [*as_root(), "unshare", *NAMESPACES, *script],
        stdin=subprocess.PIPE,
        stdout=console,
        stderr=subprocess.STDOUT,
        env={"PATH": PATH},
    )
    assert process.stdin is not None
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait(TEARDOWN_DEADLINE)
        remove_groups(group)


def why_not() -> str | None:
    """Why no container can be booted here; None: one can."""
    missing = [
        tool for tool in ("systemd-nspawn", "nsenter", "unshare") if not _is_there(Path(tool))
    ]
    if missing:
        return f"{', '.join(missing)} not installed; on Debian and Ubuntu: systemd-container"
    if not (ROOT / "sbin" / "init").exists():
        return f"{ROOT} is no root directory with a systemd"
    if subprocess.run([*as_root(), "true"], capture_output=True, check=False).returncode:
        return "a container with systemd needs root, and sudo asks for a password"
    return None


def _is_there(tool: Path) -> bool:
    return any(Path(directory, tool).exists() for directory in PATH.split(":"))


def _leader(process: subprocess.Popen[bytes]) -> int | None:
    """The first process of a namespace two below ours that descends from `process`."""
    assert process.poll() is None, f"the boot script ended with {process.returncode}"
    family = {process.pid}
    for pid, parent, inner in sorted(_processes()):
        if parent in family:
            family.add(pid)
            if len(inner) == 3 and inner[-1] == 1:
                return pid
    return None


def _processes() -> Iterator[tuple[int, int, list[int]]]:
    """(pid, parent, pids in all namespaces from ours down) of every process."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                lines = entry.joinpath("status").read_text(errors="replace").splitlines()
            except (FileNotFoundError, ProcessLookupError):  # gone meanwhile
                continue
            fields = dict(line.split(":", 1) for line in lines if ":" in line)
            yield int(entry.name), int(fields["PPid"]), [int(n) for n in fields["NSpid"].split()]


def _is_settled(container: Container, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, f"the boot script ended with {process.returncode}"
    state = container.run("systemctl", "is-system-running", "--wait", check=False)
    return state.stdout.strip() in SETTLED


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """A file of root's; compiled Python is left out."""
    if Path(member.name).name == "__pycache__":
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")

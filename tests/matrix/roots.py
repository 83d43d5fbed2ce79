"""Bare roots of Debian: made once by mmdebstrap, unpacked anew for each suite."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

CHECKOUT = Path(__file__).resolve().parents[2]
ROOTS = CHECKOUT / ".roots"
LOGS = ROOTS / "matrix"
ENTER = Path(__file__).with_name("enter.sh")
DEBIANS = {"debian-12": "bookworm", "debian-13": "trixie", "debian-sid": "sid"}
BARE = "ca-certificates,make,git,python3"  # what README's quick start takes for granted
# A mirror that stands still is as good: its signatures are looked at, their age is not.
OF_ANY_AGE = 'Acquire::Check-Valid-Until "false"'  # inside as well: it is kept in the root
NAMESPACES = ("--mount", "--pid", "--fork", "--kill-child", "--propagation=private")
OUTPUT_TAIL = 15  # lines


class Root:
    """One that is unpacked; `fresh()` makes it.

    :ivar pip: what pip is told on this machine, as variables.
    :ivar given: files and directories of this machine that those name; they are shown inside.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self.pip, self.given = pip_settings()

    def clone(self, place: str, owner: str = "") -> None:
        """HEAD of this checkout, without its history's other branches."""
        target = self.path / place[1:]
        subprocess.run(["git", "clone", "--quiet", CHECKOUT.as_uri(), target], check=True)
        if owner:
            self.run(f"chown -R {owner}: {place}")

    def run(self, script: str) -> None:
        """As root inside.

        :raises subprocess.CalledProcessError: it fails.
        """
        subprocess.run(
            self._words(script),
            env=self._environment(),
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def out(self, script: str) -> str:
        """What it prints; its status does not count."""
        done = subprocess.run(
            self._words(script), env=self._environment(), check=False, capture_output=True
        )
        return done.stdout.decode(errors="replace").strip()

    def timed(self, script: str, log: str, deadline: float) -> tuple[float, int]:
        """Seconds that it took, and its status; 124: the deadline. A file keeps its output."""
        LOGS.joinpath(self.name).mkdir(parents=True, exist_ok=True)
        file = LOGS / self.name / f"{log}.log"
        say(f"{self.name}: {log}; its output is in {file.relative_to(CHECKOUT)}")
        begun = time.monotonic()
        with file.open("wb") as output:
            done = subprocess.run(
                ["timeout", "--kill-after=10", str(deadline), *self._words(script)],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        seconds = time.monotonic() - begun
        if done.returncode:
            lines = file.read_text(errors="replace").splitlines()[-OUTPUT_TAIL:]
            say("\n".join(lines))
        return seconds, done.returncode

    def _words(self, script: str) -> list[str]:
        shared = [str(path) for path in self.given]
        return ["unshare", *NAMESPACES, "sh", str(ENTER), str(self.path), script, *shared]

    def _environment(self) -> dict[str, str]:
        proxies = {name: os.environ[name] for name in os.environ if name.endswith("_proxy")}
        plain = {"HOME": "/root", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {**plain, **proxies, **self.pip, "PATH": path}


def say(text: str) -> None:
    """To whoever waits for it."""
    sys.stderr.write(f"{text}\n")


@contextmanager
def fresh(name: str) -> Iterator[Root]:
    """A root that nobody has used yet; it is gone after the block."""
    archive = archived(name, DEBIANS[name], BARE)
    path = Path(mkdtemp(prefix=f"{name}-", dir=ROOTS))
    try:
        subprocess.run(["tar", "-xpf", archive, "-C", path], check=True)
        path.chmod(0o755)
        yield Root(name, path)
    finally:
        shutil.rmtree(path)


def archived(name: str, suite: str, include: str) -> Path:
    """The archive of a root with these packages and the essential ones; made once."""
    archive = ROOTS / f"{name}.tar"
    if archive.exists():
        return archive
    say(f"making {archive.relative_to(CHECKOUT)}: a bare Debian {suite}")
    ROOTS.mkdir(exist_ok=True)
    draft = archive.with_suffix(f".{os.getpid()}.tar")
    words = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        f"--include={include}",
        f"--aptopt={OF_ANY_AGE}",
        suite,
        str(draft),
    ]
    try:
        subprocess.run(words, check=True)
        draft.rename(archive)
    finally:
        draft.unlink(missing_ok=True)
    return archive


def pip_settings() -> tuple[dict[str, str], list[Path]]:
    """What pip is told on this machine, as variables, and the files and directories that it names:
    a package index of one's own serves inside as well."""
    pip = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(pip, check=True, capture_output=True, text=True).stdout
    return parsed(listed)


def parsed(listed: str) -> tuple[dict[str, str], list[Path]]:
    """The lines of `pip config list`; a variable outranks a file."""
    variables: dict[str, str] = {}
    for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):
        key, _, value = line.partition("=")
        variables[f"PIP_{key.split('.', 1)[1].upper().replace('-', '_')}"] = value.strip("'\"")
    named = re.findall(r"(?:^|\s)(?:file://)?(/\S+)", "\n".join(variables.values()), re.MULTILINE)
    whole = [re.sub(r"/simple/?$", "", name) for name in named]  # an index has its files beside it
    return variables, sorted({Path(name) for name in whole if Path(name).exists()})

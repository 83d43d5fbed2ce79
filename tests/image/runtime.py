"""A container by crun: what `podman run --read-only --cap-drop=ALL --network=none` would start."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.image.oci import Image
from tests.support.waiting import wait_until

# The unit's SystemCallFilter=, as the container's seccomp filter.
ALLOWED, DENIED = ["@system-service"], ["@privileged", "@resources", "@mount"]
# crun takes control groups of version 2 or of version 1, and no mixture: it sees the latter alone.
CRUN = (
    "unshare",
    "--mount",
    "sh",
    "-ec",
    '[ ! -d /sys/fs/cgroup/unified ] || umount /sys/fs/cgroup/unified; exec crun "$@"',
    "crun",
)
NAMESPACES = ("pid", "network", "ipc", "uts", "mount", "cgroup")
MANAGERS = "/srv/managers"
LINE_SECONDS = 90.0
END_SECONDS = 60.0
MASKED = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"]


class Running:
    """A container that has been started; `container()` makes it."""

    def __init__(
        self, name: str, user: int, output: Path, process: "subprocess.Popen[bytes]"
    ) -> None:
        self.name = name
        self._user = f"{user}:{user}"
        self._output = output
        self._process = process

    @property
    def output(self) -> str:
        """What it has written to stdout and stderr, as a log driver gets it."""
        return self._output.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Of its PID 1, as the machine sees it."""
        state = subprocess.run([*CRUN, "state", self.name], check=True, capture_output=True)
        return int(json.loads(state.stdout)["pid"])

    def wait_for(self, text: str, since: int = 0) -> str:
        """Wait until a line with this text is written; that line."""

        def found() -> str | None:
            assert self._process.poll() is None, f"it has ended: {self.output}"
            return next((line for line in self.output[since:].splitlines() if text in line), None)

        line = wait_until(found, LINE_SECONDS, f"the log has {text!r}", show=lambda: self.output)
        assert line is not None
        return line

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """A command beside PID 1, as its user, with the image's variables."""
        words = [*CRUN, "exec", "--no-new-privs", f"--user={self._user}", self.name, *command]
        # From a pipe: crun 1.8.1 gives a standard input to the user by chown, also /dev/null.
        return subprocess.run(words, capture_output=True, text=True, check=False, input="")

    def signal(self, name: str) -> None:
        """To PID 1."""
        subprocess.run([*CRUN, "kill", self.name, name], check=True)

    def status(self) -> int:
        """Wait for its end; the container's exit status."""
        return self._process.wait(END_SECONDS)


@contextmanager
def container(
    image: Image,
    directory: Path,
    *words: str,
    env: Mapping[str, str] | None = None,
    memory: int | None = None,
    volume: Sequence[str] = (),
) -> Iterator[Running]:
    """Started, and gone after the block.

    :param directory: a new one, for the bundle and the log.
    :param words: after the image's entry point.
    :param memory: its limit, in bytes.
    :param volume: mount options of the volume, which is the user's alone otherwise.
    """
    directory.mkdir()
    name = f"launcher-image-{os.getpid()}-{directory.name}"
    config = specification(
        image, [*image.entrypoint, *words], dict(env or {}), memory, name, volume=volume
    )
    directory.joinpath("config.json").write_text(json.dumps(config))
    manager = "disabled" if memory is None else "cgroupfs"
    run = [*CRUN, f"--cgroup-manager={manager}", "run", f"--bundle={directory}", name]
    output = directory / "output"
    with output.open("wb") as log:
        process = subprocess.Popen(
            run, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield Running(name, image.user, output, process)
    finally:
        subprocess.run([*CRUN, "delete", "--force", name], check=False, capture_output=True)
        process.wait(END_SECONDS)


def specification(
    image: Image,
    args: list[str],
    env: dict[str, str],
    memory: int | None,
    name: str,
    *,
    volume: Sequence[str] = (),
) -> dict[str, object]:
    """The runtime's config.json (OCI runtime specification, 1.0)."""
    (place,), user = image.volumes, image.user
    private = ("mode=0700", f"uid={user}", f"gid={user}")
    none: dict[str, list[str]] = {
        kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")
    }
    variables = [*image.variables, f"PYTHONPATH={MANAGERS}"]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": user, "gid": user},
            "args": args,
            "env": [*variables, *(f"{key}={value}" for key, value in env.items())],
            "cwd": "/",
            "capabilities": none,
            "noNewPrivileges": True,
        },
        "root": {"path": str(image.root), "readonly": True},
        "hostname": "container",
        "mounts": [
            _mount("proc", "/proc", "proc"),
            _mount("tmpfs", "/dev", "tmpfs", "mode=755", "nosuid"),
            _mount("tmpfs", "/dev/shm", "tmpfs", "mode=1777", "nosuid", "nodev", "noexec"),
            _mount("tmpfs", place, "tmpfs", "nodev", *(volume or private)),
            _mount(str(Path(__file__).parents[1] / "systemd"), MANAGERS, "bind", "bind", "ro"),
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in NAMESPACES],
            "maskedPaths": MASKED,
            "readonlyPaths": ["/proc/sys", "/proc/irq", "/proc/bus"],
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO",
                "syscalls": [{"names": allowed(), "action": "SCMP_ACT_ALLOW"}],
            },
            **(
                {}
                if memory is None
                else {"cgroupsPath": f"/{name}", "resources": {"memory": {"limit": memory}}}
            ),
        },
    }


def _mount(source: str, destination: str, kind: str, *options: str) -> dict[str, object]:
    return {
        "source": source,
        "destination": destination,
        "type": kind,
        "options": list(options),
    }


def allowed() -> list[str]:
    """The system calls that the unit allows, by systemd's groups of them."""
    return sorted(_members(ALLOWED) - _members(DENIED))


def _members(names: list[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        if name.startswith("@"):
            listed = subprocess.run(
                ["systemd-analyze", "syscall-filter", "--no-pager", name],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            lines = [line.strip() for line in listed.splitlines()[1:]]
            found |= _members([line for line in lines if line and not line.startswith("#")])
        else:
            found.add(name)
    return found

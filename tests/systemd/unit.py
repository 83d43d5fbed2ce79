"""A unit inside the container, as an operator and a test see it."""

import re
import time
from collections.abc import Sequence

from tests.support.waiting import wait_until
from tests.systemd.container import Container

EXTRA_CONFIG = "/etc/compute-launcher/compute-launcher.conf.d"
RESET = """
systemctl kill --signal=KILL "$0"
systemctl stop "$0"
rm -rf "/run/systemd/system/$0.d" "/run/systemd/system.control/$0.d" "$1"
systemctl daemon-reload
systemctl reset-failed "$0"
has=$(systemctl show --value --property=StateDirectory --property=RuntimeDirectory "$0")
[ -z "$has" ] || systemctl clean --what=state --what=runtime "$0"
"""
UNIT_DEADLINE = 60.0  # seconds, for systemctl to return


class Unit:
    """Named as systemctl names it. Its journal is told from the moment on that this is made."""

    def __init__(self, container: Container, name: str) -> None:
        self.container = container
        self.name = name
        self._since = f"@{time.time():.6f}"

    def control(self, verb: str, *, check: bool = True, deadline: float = UNIT_DEADLINE) -> str:
        """`systemctl VERB UNIT`; what it printed. Raises AssertionError when it fails."""
        done = self.container.run("systemctl", verb, self.name, check=check, deadline=deadline)
        return done.stdout + done.stderr

    def start(self, *, deadline: float = UNIT_DEADLINE) -> None:
        """Start, and return when systemd says that it is active."""
        self.control("start", deadline=deadline)

    def stop(self, *, deadline: float = UNIT_DEADLINE) -> None:
        """Stop, and return when it is."""
        self.control("stop", deadline=deadline)

    def begin(self, verb: str) -> None:
        """Have systemd begin a job, and do not wait for its end."""
        self.container.run("systemctl", verb, "--no-block", self.name)

    def fails(self, verb: str, *, deadline: float = UNIT_DEADLINE) -> str:
        """The job fails; what systemctl printed."""
        done = self.container.run("systemctl", verb, self.name, check=False, deadline=deadline)
        assert done.returncode != 0, f"systemctl {verb} {self.name} succeeded"
        return done.stdout + done.stderr

    def drop_in(self, *lines: str, section: str = "Service") -> None:
        """Settings for this unit until the test is over."""
        text = "\n".join([f"[{section}]", *lines, ""])
        place = f"/run/systemd/system/{self.name}.d"
        number = len(self.container.run("ls", place, check=False).stdout.split())
        self.container.put(f"{place}/{50 + number}-test.conf", text)
        self.container.run("systemctl", "daemon-reload")

    def configure(self, **options: object) -> None:
        """Options of the service until the test is over, through its environment, which outranks
        files: `workers=2`, `database__connection="sqlite://…"` for one of a group."""
        self.drop_in(*(f'Environment="{_variable(name)}={options[name]}"' for name in options))

    def write_configuration(self, *lines: str) -> None:
        """A file that the service and all commands read, until the test is over."""
        self.container.put(f"{EXTRA_CONFIG}/test.conf", "\n".join([*lines, ""]))

    def reset(self) -> None:
        """Stopped, with nothing left of failures, settings, state and runtime files.

        :raises AssertionError: these files cannot be removed; since 258 that takes a message bus.
        """
        self.container.run("sh", "-c", RESET, self.name, EXTRA_CONFIG)

    def show(self, name: str) -> str:
        """A property, systemctl(1)."""
        return self.container.out("systemctl", "show", "--value", f"--property={name}", self.name)

    @property
    def state(self) -> str:
        """active, activating, failed, …"""
        return self.show("ActiveState")

    @property
    def status_text(self) -> str:
        """The last STATUS= that it sent."""
        return self.show("StatusText")

    @property
    def restarts(self) -> int:
        """How often systemd has restarted it by itself."""
        return int(self.show("NRestarts"))

    @property
    def main_pid(self) -> int:
        """The master's pid, inside; 0: there is none."""
        return int(self.show("MainPID"))

    def wait_for(self, pattern: str, name: str, deadline: float) -> str:
        """Wait until the property `name` matches; its value then."""

        def matching() -> str:
            value = self.show(name)
            return value if re.search(pattern, value) else ""

        return wait_until(matching, deadline, f"{name} of {self.name} is like {pattern!r}")

    def status(self) -> str:
        """What `systemctl status` shows, with the journal's last lines."""
        done = self.container.run("systemctl", "status", "--lines=30", self.name, check=False)
        return done.stdout

    def journal(self, *options: str) -> str:
        """The unit's lines since this test began; by default as an operator reads them."""
        words = ["journalctl", "--quiet", "--no-pager", f"--unit={self.name}"]
        return self.container.out(*words, f"--since={self._since}", *options)

    def messages(self, *options: str) -> Sequence[str]:
        """The same, bare."""
        return self.journal("--output=cat", *options).splitlines()

    def wait_for_message(self, pattern: str, deadline: float) -> str:
        """Wait for a line of the unit's journal, and return the first one that matches."""

        def found() -> str | None:
            return next((line for line in self.messages() if re.search(pattern, line)), None)

        line = wait_until(found, deadline, f"the journal of {self.name} has {pattern!r}")
        assert line is not None
        return line

    def processes(self) -> Sequence[int]:
        """Pids, inside, of all that is in the unit's control group."""
        group = self.show("ControlGroup")
        if not group:
            return []
        listing = f"find /sys/fs/cgroup{group} -name cgroup.procs -exec cat {{}} + 2>/dev/null"
        return [
            int(pid) for pid in self.container.run("sh", "-c", listing, check=False).stdout.split()
        ]

    def workers(self) -> Sequence[int]:
        """Pids of the master's children, oldest first."""
        listing = self.container.run("pgrep", "--parent", str(self.main_pid), check=False)
        return sorted(int(pid) for pid in listing.stdout.split())


def _variable(option: str) -> str:
    """oslo.config's name for it: OS_GROUP__OPTION."""
    group, _, name = option.rpartition("__")
    return f"OS_{(group or 'DEFAULT').upper()}__{name.upper()}"

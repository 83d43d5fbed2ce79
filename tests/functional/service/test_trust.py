"""Root asks the service of another user, and strangers stand in the way."""

import fcntl
import os
from pathlib import Path

import pytest

from tests.functional.conftest import Launch
from tests.support.directories import short_directory
from tests.support.processes import READY_DEADLINE
from tests.support.users import ALICE, needs_root
from tests.support.waiting import wait_until

pytestmark = needs_root

QUICK = {"health": {"probe_interval": 1, "beat_timeout": 5}, "DEFAULT": {"report_interval": 1}}
POWERS = "-dac_override,-dac_read_search"  # that root is to do without
ASK = (
    ("ping",),
    ("ping", "--worker", "1"),
    ("call", "get_host_uptime"),
    ("db", "upgrade"),
    ("db", "check"),
    ("db", "history"),
    ("services", "list"),
    ("services", "disable", "--reason", "moved"),
    ("services", "enable"),
    ("status",),
    ("health",),
    ("config", "check"),
    ("scale", "3"),
    ("restart-worker", "0"),
    ("reload",),
)


def owners(directory: Path) -> set[int]:
    return {path.lstat().st_uid for path in (directory, *directory.rglob("*"))}


def test_root_asks_the_service_of_another_user(launch: Launch) -> None:
    service = launch("--workers", "2", user=ALICE)
    service.wait_ready()

    for words in ASK:
        done = service.run_command(*words)
        assert (done.status, done.stderr) == (0, ""), (words, done)
    assert owners(service.runtime_path) == {ALICE}
    assert owners(service.state_path) == {ALICE}


def test_root_reaches_what_lies_behind_a_directory_of_roots(launch: Launch) -> None:
    """As systemd keeps the directories of a DynamicUser."""
    service = launch("--workers", "2", user=ALICE, private=True)
    service.wait_ready()

    for words in ASK:
        done = service.run_command(*words)
        assert (done.status, done.stderr) == (0, ""), (words, done)
    assert owners(service.runtime_path) == {ALICE}


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        ("health", 77, "cannot be reached by root here (Permission denied)"),
        ("status", 77, "root lacks CAP_DAC_OVERRIDE"),
        ("reload", 77, "run this as the user of the service"),
        ("ping", 69, "cannot be reached: "),
    ],
)
def test_root_without_its_powers_is_told_the_truth(
    launch: Launch, words: str, status: int, complaint: str
) -> None:
    """As in some containers: what is another user's is closed to root, too."""
    service = launch("--workers", "1", user=ALICE)
    service.wait_ready()
    for path in (service.runtime_path, service.state_path):
        path.chmod(0o700)

    file = f"--config-file {service.config_file}"
    done = service.run_shell(f"setpriv --bounding-set {POWERS} $0 {words} {file}")

    assert (done.status, done.stdout) == (status, ""), done
    assert complaint in done.stderr
    assert "Permission denied" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("variable", ["STATE_DIRECTORY", "RUNTIME_DIRECTORY"])
@pytest.mark.parametrize(
    ("owner", "mode", "complaint"),
    [
        (ALICE, 0o700, f"belongs to uid {ALICE}"),
        (0, 0o777, "others may write to it (mode 0777)"),
    ],
)
def test_a_service_of_roots_uses_nothing_of_others(
    launch: Launch, variable: str, owner: int, mode: int, complaint: str
) -> None:
    with short_directory() as directory:
        place = directory / "place"
        place.mkdir()
        place.chmod(mode)
        os.chown(place, owner, owner)

        refused = launch("--workers", "1", env={variable: str(place)})

        assert refused.wait() == 78
        assert complaint in refused.output
        assert "Traceback" not in refused.output
        assert list(place.iterdir()) == []


def test_a_service_of_roots_is_not_led_anywhere(launch: Launch) -> None:
    """By a link of somebody else's, to a directory of root's own. In a sticky directory that all
    may write to, most kernels do not follow it anyway: protected_symlinks of proc(5)."""
    with short_directory() as directory:
        os.chown(directory, ALICE, ALICE)
        (directory / "roots").mkdir(mode=0o700)
        link = directory / "link"
        link.symlink_to("roots")
        os.lchown(link, ALICE, ALICE)

        refused = launch("--workers", "1", env={"RUNTIME_DIRECTORY": str(link)})

        assert refused.wait() == 78
        assert f"uid {ALICE} could put another directory in its place" in refused.output
        assert list((directory / "roots").iterdir()) == []


@pytest.mark.parametrize("kind", ["foreign", "link", "dangling", "hard link", "fifo beside"])
def test_a_database_that_is_not_ours_alone_is_refused(launch: Launch, kind: str) -> None:
    with short_directory() as directory:
        state, other = directory / "state", directory / "other"
        state.mkdir(mode=0o700)
        other.write_bytes(b"")
        database = state / "launcher.sqlite"
        if kind == "foreign":
            database.touch()
            os.chown(database, ALICE, ALICE)
        elif kind in {"link", "dangling"}:
            database.symlink_to(other if kind == "link" else directory / "nothing")
        elif kind == "hard link":
            os.link(other, database)
        else:
            os.mkfifo(f"{database}-wal")

        refused = launch("--workers", "1", env={"STATE_DIRECTORY": str(state)})

        assert refused.wait() == 78
        assert f"database sqlite:///{database} cannot be used" in refused.output
        assert other.read_bytes() == b""
        assert not (directory / "nothing").exists()


def test_root_makes_no_bus_in_advance(launch: Launch) -> None:
    """One of root's would lock the service out."""
    with short_directory() as directory:
        directory.chmod(0o1777)
        service = launch("--workers", "1", user=ALICE)
        service.wait_ready()
        url = f"unix://{directory}/bus"

        asked = service.run_command("ping", env={"OS_DEFAULT__TRANSPORT_URL": url})

        assert asked.status == 69
        assert f"there is no {directory}/bus; is the service running?" in asked.stderr
        assert list(directory.iterdir()) == []


def test_a_command_writes_into_no_log_of_the_services(launch: Launch) -> None:
    service = launch("--workers", "1", user=ALICE)
    service.wait_ready()
    canary = service.directory / "canary"
    canary.write_text("kept")
    link = service.state_path / "service.log"
    link.symlink_to(canary)
    service.configure({"DEFAULT": {"log_file": str(link), "debug": "true"}})

    for words in (("ping",), ("services", "list"), ("config", "check")):
        assert service.run_command(*words).status == 0
    assert canary.read_text() == "kept"


def test_a_cleaner_of_old_files_ends_no_service(launch: Launch) -> None:
    """tmpfiles.d(5) looks for locks; one that does not takes lock files, FIFOs and sockets."""
    service = launch("--workers", "2", config=QUICK)
    service.wait_ready()
    service.wait_for_line("worker=0 .* is the lead")  # for good: the first of those that serve
    since = len(service.output)
    for path in [*service.runtime_path.rglob("*")]:
        if not path.is_dir():
            path.unlink()

    service.wait_for_line("master.lock was removed or replaced; it is made anew", since=since)
    service.wait_for_line("lead.lock was removed or replaced; it is made anew", since=since)
    second = launch("--workers", "1", env={"RUNTIME_DIRECTORY": str(service.runtime_path)})
    assert second.wait() == 78
    assert f"is in use by compute-launcher with pid {service.master()}" in second.output

    def answers() -> bool:
        done = service.run_command("ping", "--timeout", "5")
        return done.status == 0

    wait_until(answers, READY_DEADLINE, "it answers again")
    assert service.status is None


def test_the_directories_are_locked_against_cleaners(launch: Launch) -> None:
    """As tmpfiles.d(5) asks for: it takes an exclusive lock on a directory before it ages it."""
    service = launch("--workers", "1")
    service.wait_ready()

    for path in (service.runtime_path, service.state_path, service.runtime_path / "bus"):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)

"""The owner of a directory, its rulers, and how root becomes its owner."""

import ctypes
import errno
import grp
import os
import pwd
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.directories import ownership, privileges
from launcher.directories.ownership import ANYBODY
from launcher.errors import PlaceUntrusted
from tests.support.users import needs_root

ALICE, BOB = 41001, 41002
CLONE_NEWUSER = 0x10000000  # unshare(2)


def rulers(path: Path) -> frozenset[int]:
    return ownership.look(str(path)).rulers - {os.geteuid()}


def give(path: Path, user: int) -> Path:
    path.mkdir(mode=0o755, exist_ok=True)
    os.chown(path, user, user)
    return path


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that every user can reach. Those of pytest lie behind one of root's."""
    with tempfile.TemporaryDirectory(prefix="launcher-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def in_child(action: Callable[[], object]) -> str:
    """Run an action in a child process; returns its result or its error as text."""
    reader, writer = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            text = str(action())
        except BaseException as error:  # noqa: BLE001  # told to the test, whatever it is
            text = f"{type(error).__name__}: {error}"
        writer.sendall(text.encode())
        os._exit(0)
    writer.close()
    with reader:
        told = reader.makefile().read()
    os.waitpid(pid, 0)
    return told


def test_the_way_of_root_or_ourselves_has_no_other_rulers(tmp_path: Path) -> None:
    assert rulers(tmp_path) == frozenset()
    assert ownership.why_not_ours(ownership.look(str(tmp_path))) is None


def test_a_path_that_leads_nowhere_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "round").symlink_to("round")

    for name, error in (("no", FileNotFoundError), ("file", NotADirectoryError)):
        with pytest.raises(error):
            ownership.reach(str(tmp_path / name))
    with pytest.raises(OSError, match="symbolic links"):
        ownership.reach(str(tmp_path / "round"))


def test_links_are_followed_as_the_kernel_does(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "up").symlink_to("../a/b")
    (tmp_path / "far").symlink_to(tmp_path / "a" / "up")

    reached = ownership.reach(str(tmp_path / "far"))

    assert os.path.samestat(os.fstat(reached.descriptor), (tmp_path / "a" / "b").stat())
    os.close(reached.descriptor)


def test_a_directory_open_to_others_is_ruled_by_anybody(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open" / "inner").mkdir()

    assert ANYBODY in rulers(tmp_path / "open" / "inner")
    reason = ownership.why_not_ours(ownership.look(str(tmp_path / "open")))
    assert reason == "others may write to it (mode 0777)"


def test_a_private_group_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's useradd gives each user a private group, and many have umask 002."""
    me = pwd.getpwuid(os.geteuid())
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o770)
    for members, private in (([], True), ([me.pw_name], True), (["bob"], False)):
        group = grp.struct_group((me.pw_name, "x", me.pw_gid, members))
        monkeypatch.setattr(grp, "getgrgid", lambda gid, group=group: group)
        assert (ownership.why_not_ours(ownership.look(str(shared))) is None) == private


@needs_root
def test_each_owner_on_the_way_is_a_ruler(tmp_path: Path) -> None:
    alices = give(tmp_path / "alices", ALICE)
    (alices / "roots").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    os.lchown(link, BOB, BOB)

    assert rulers(alices) == frozenset()  # but it is hers
    assert rulers(alices / "roots") == {ALICE}
    assert rulers(link) == {BOB}


@needs_root
def test_in_a_sticky_directory_only_the_owner_of_the_entry_counts(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    (tmp_path / "roots").mkdir()

    assert rulers(tmp_path / "roots") == frozenset()
    give(tmp_path / "alices", ALICE)
    assert rulers(tmp_path / "alices") == {ALICE}


@needs_root
@pytest.mark.parametrize("depth", [1, 2])
def test_the_machines_root_rules_no_way_in_a_rootless_container(depth: int) -> None:
    """Nor in a user namespace inside it, whose map does not show that he is missing."""

    def rule() -> tuple[int, frozenset[int]]:
        for outer in [ALICE, 0][:depth]:
            enter_namespace_as_root(outer)
        return Path("/").stat().st_uid, ownership.look("/usr").rulers

    assert in_child(rule) == f"({ownership.overflow_uid()}, frozenset())"


def enter_namespace_as_root(outer: int) -> None:
    """Enter a user namespace that has only root; outside he is the user `outer`."""
    libc = ctypes.CDLL(None, use_errno=True)
    reader, writer = os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(writer)
        if not os.read(reader, 1):  # it has failed
            os._exit(1)
        for ids in ("uid_map", "gid_map"):
            Path(f"/proc/{os.getppid()}", ids).write_text(f"0 {outer} 1\n")
        os._exit(0)
    assert libc.unshare(CLONE_NEWUSER) == 0, os.strerror(ctypes.get_errno())
    os.write(writer, b"!")
    assert os.waitpid(helper, 0)[1] == 0
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    libc.prctl(privileges.PR_SET_DUMPABLE, 1, 0, 0, 0)  # else we may not write a map of ours


@needs_root
def test_root_becomes_the_owner_for_good(tmp_path: Path) -> None:
    alices = give(tmp_path / "alices", ALICE)

    def become() -> str:
        privileges.become_owner(alices / "not" / "there" / "yet")
        dumpable = Path("/proc/self/environ").stat().st_uid
        return f"{os.getresuid()} {os.getresgid()} {os.getgroups()} {dumpable}"

    tmp_path.chmod(0o755)
    who = (ALICE,) * 3
    assert in_child(become) == f"{who} {who} [{ALICE}] 0"


@needs_root
def test_root_that_may_become_nobody_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container without capabilities."""

    def refuse(groups: list[int]) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    tmp_path.chmod(0o755)
    monkeypatch.setattr(os, "setgroups", refuse)
    told = in_child(lambda: privileges.become_owner(give(tmp_path / "alices", ALICE)))

    assert told.startswith("PlaceUntrusted:")
    assert f"root may not become its owner, uid {ALICE}, here (Operation not permitted)" in told


@needs_root
def test_root_stays_root_where_the_directory_is_roots(tmp_path: Path) -> None:
    assert in_child(lambda: (privileges.become_owner(tmp_path), os.geteuid())) == "(0, 0)"


@needs_root
def test_root_goes_nowhere_where_somebody_else_leads(tmp_path: Path) -> None:
    roots, bobs = tmp_path / "roots", give(tmp_path / "bobs", BOB)
    roots.mkdir()
    alices = give(tmp_path / "alices", ALICE)
    for name, target in (("to-root", roots), ("to-bob", bobs)):
        (alices / name).symlink_to(target)
        os.lchown(alices / name, ALICE, ALICE)

    for name in ("to-root", "to-bob"):
        with pytest.raises(PlaceUntrusted, match=f"uid {ALICE} could have put it there"):
            privileges.become_owner(alices / name)
    assert os.geteuid() == 0


@needs_root
def test_the_owner_reaches_what_lies_behind_a_directory_of_roots(tmp_path: Path) -> None:
    """As the directories of a DynamicUser, with the link that systemd puts beside them."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    give(private / "service", ALICE).chmod(0o700)
    (tmp_path / "service").symlink_to("private/service")
    tmp_path.chmod(0o755)

    def work() -> str:
        privileges.become_owner(tmp_path / "service")
        (tmp_path / "service" / "made").touch()
        return f"{os.geteuid()} {(private / 'service').resolve()}"

    assert in_child(work) == f"{ALICE} {private / 'service'}"
    assert (private / "service" / "made").stat().st_uid == ALICE
    assert private.stat().st_mode & 0o777 == 0o700


@needs_root
def test_root_opens_no_way_that_the_owner_could_lead_elsewhere(open_place: Path) -> None:
    """The owner could make root mount and create directories where he wants."""
    alices = give(open_place / "alices", ALICE)
    (alices / "closed").mkdir()
    bus = give(alices / "closed" / "bus", ALICE)
    os.chown(alices / "closed", ALICE, ALICE)
    (alices / "closed").chmod(0)

    def mounts() -> str:
        before = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
        privileges.become_owner(bus)
        return str(before == Path("/proc/thread-self/mountinfo").read_text(encoding="utf-8"))

    assert in_child(mounts) == "True"


@needs_root
def test_a_link_of_the_owners_out_of_a_closed_directory_is_not_gone_along(
    open_place: Path,
) -> None:
    private = open_place / "private"
    private.mkdir(mode=0o700)
    service = give(private / "service", ALICE)
    away = give(give(open_place / "alices", ALICE) / "away", ALICE)
    (service / "bus").symlink_to(away)
    os.lchown(service / "bus", ALICE, ALICE)

    def work() -> str:
        privileges.become_owner(service / "bus")
        lines = Path("/proc/thread-self/mountinfo").read_text(encoding="utf-8").splitlines()
        return str([line for line in lines if line.split()[4] == str(away)])

    assert in_child(work) == "[]"


def test_a_user_without_a_name_is_told_by_number() -> None:
    assert ownership.name_of(0) == "user root (uid 0)"
    assert ownership.name_of(ALICE) == f"uid {ALICE}"
    assert ownership.name_of(ANYBODY).startswith("anybody who may write")

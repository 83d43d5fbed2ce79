"""The user of the service may have too few tasks, that is processes and threads.

RLIMIT_NPROC counts all tasks of a user, as TasksMax= counts those of a unit, and the kernel's
error is the same. Root has no such limit.
"""

import os
import re
import resource
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

from tests.functional.conftest import Launch
from tests.functional.service.conftest import Start
from tests.functional.service.faults import (
    status,
    wait_until_all_prove_themselves,
    with_options,
    workers,
)
from tests.support.commands import SCRIPTS
from tests.support.directories import short_directory
from tests.support.processes import SERVING, Launcher
from tests.support.users import needs_root
from tests.support.waiting import wait_until

pytestmark = needs_root

SOON = 30.0
USER = 50_000 + os.getpid() % 10_000  # no other test, run beside this one, counts for the limit
NEED = "the kernel gives no further thread or process; raise what limits them: TasksMax= of"
ENOUGH = 80  # tasks, for a master and two workers
STEP = {"unix": 3, "rabbit": 7}
PLAIN = "from launcher.serve.manager import Manager\n\n\nclass Plain(Manager):\n    pass\n"
PAUSE = re.compile(
    r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>[\d.]+) INFO .* worker 1 starts again in "
    r"(?P<pause>[\d.]+) s"
)
ROUNDED = 0.1  # seconds
DAY = 86_400.0  # seconds; it may end in between
READY = re.compile(rf"{SERVING}| ready: ")


@contextmanager
def limited(service: Launcher, more: int | None = None) -> Iterator[None]:
    """The master and the workers that it forks get so many tasks `more` than all have now. None:
    not a single one, whichever of those that they have now end meanwhile."""
    most = 1 if more is None else sum(map(tasks, processes(service))) + more
    limit(processes(service), str(most))
    try:
        yield
    finally:
        if service.status is None:
            limit(processes(service), "")


def seconds(line: re.Match[str]) -> float:
    """Of the day."""
    return 3600 * int(line["hour"]) + 60 * int(line["minute"]) + float(line["second"])


def tasks(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def processes(service: Launcher) -> list[int]:
    return [service.pid, *service.workers()]


def limit(pids: Sequence[int], most: str) -> None:
    """The soft limit; "": as high as the hard one. By the user, who may do that to his own."""
    for pid in pids:
        hard = resource.prlimit(os.getpid(), resource.RLIMIT_NPROC)[1]
        value = f"{most}:" if most else f"{hard if hard >= 0 else 'unlimited'}:"
        user = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
        done = subprocess.run([*user, "prlimit", f"--pid={pid}", f"--nproc={value}"], check=False)
        assert done.returncode == 0 or not Path(f"/proc/{pid}").exists()  # it may have ended


def serve(start: Start, **supervision: object) -> Launcher:
    main: dict[str, object] = {"start_timeout": 60, "report_interval": 1}
    config = with_options(DEFAULT=main, supervision=supervision)
    service = start("Traced", config=config, user=USER)
    service.wait_ready()
    return service


def call(service: Launcher, answers: list[str], *words: str) -> threading.Thread:
    """Begin a call."""

    def ask() -> None:
        answers.append(service.run_command("call", *words, "--timeout=60").stdout.strip())

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def has_slow_call(service: Launcher) -> bool:
    return "slow_echo" in Path(service.state_path, "trace").read_text()


def has_served_or_ended(service: Launcher) -> bool:
    return service.status is not None or READY.search(service.output) is not None


def test_a_start_with_too_few_tasks_ends_in_one_sentence(
    launch: Launch, transport: str | None
) -> None:
    """With each number of tasks: the master's threads, forks, cotyledon's threads in a worker and
    each step of its start find none."""
    bus = "rabbit" if transport else "unix"
    url = {"transport_url": transport} if transport else {}
    refused = set()
    for most in range(1, ENOUGH, STEP[bus]):
        script = str(SCRIPTS / "compute-launcher")
        service = launch(
            config=with_options(DEFAULT={"workers": 2, **url}),
            command=("prlimit", f"--nproc={most}:{most}", script, "--config-file=launcher.conf"),
            user=USER,
        )
        wait_until(partial(has_served_or_ended, service), SOON, f"{most} tasks: it goes on")
        if serves := service.status is None:
            service.signal(signal.SIGTERM)
        assert service.wait() == (0 if serves else 69), most
        assert "Traceback" not in service.output, most
        service.assert_nothing_left()
        if serves:
            break
        last = service.output.splitlines()[-1]
        found = re.fullmatch(rf"compute-launcher: error: (.*): {NEED} .*", last)
        assert found, last
        refused.add(re.sub(r"\d+", "N", found[1]))
    assert serves
    assert "the master has to end" in refused
    assert any(what.startswith("worker N") for what in refused), refused


def test_code_that_is_saved_waits_until_there_is_a_process(launch: Launch) -> None:
    """--dev: the watcher, and what it runs, go on."""
    with short_directory() as here:
        manager = here / "plain.py"
        manager.write_text(PLAIN)
        here.chmod(0o755)
        service = launch("--dev", "--manager=plain:Plain", cwd=here, user=USER)
        service.wait_for_line("ready: 1/1")
        limit([service.pid], "1")
        manager.write_text(f"{PLAIN}# saved\n")
        service.wait_for_line(f"the service cannot be started: {NEED}")
        service.wait_for_line("the code from before goes on serving, until a file is saved")
        assert service.run_command("ping").status == 0
        limit([service.pid], "")
        since = len(service.output)
        manager.write_text(f"{PLAIN}# saved again\n")
        service.wait_for_line("ready: 1/1", since=since)
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
        assert "Traceback" not in service.output


def test_a_worker_without_a_process_is_forked_when_there_is_one(start: Start) -> None:
    service = serve(start)
    victim = service.workers()[1]
    with limited(service):
        os.kill(victim, signal.SIGKILL)
        service.wait_for_line(f"worker 1 cannot be forked: {NEED}")
        told = f"worker 1: fork (worker 1 cannot be forked: {NEED}"
        wait_until(lambda: told in status(service)["headline"], SOON, "STATUS says why")
        assert service.run_command("ping", "--worker=0").status == 0
        since = len(service.output)
    service.wait_for_line(r"worker=1 pid=\d+ serving", since=since)
    wait_until(lambda: status(service)["healthy"], SOON, "all serve")
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    assert "Traceback" not in service.output


def test_a_worker_without_threads_starts_when_there_are_some(start: Start) -> None:
    """It is not the worker's fault, however often it dies."""
    service = serve(start, restart_limit=1, serve_degraded=False)
    victim = service.workers()[1]
    with limited(service, 3 - tasks(victim)):
        os.kill(victim, signal.SIGKILL)
        said = rf"worker 1 pid \d+ ended: worker 1.*: {NEED}"
        since = 0
        for _ in range(3):
            since = service.wait_for_line(said, since=since).end()
        wait_until(lambda: NEED in status(service)["headline"], SOON, "STATUS says why")
        assert service.run_command("ping", "--worker=0").status == 0
    service.wait_for_line(r"worker=1 pid=\d+ serving", since=since)
    wait_until(lambda: status(service)["healthy"], SOON, "all serve")
    assert status(service)["headline"] == "2/2 workers serving"
    assert "Traceback" not in service.output
    pauses = list(PAUSE.finditer(service.output))
    assert len(pauses) > 1
    for one, following in pairwise(pauses):
        assert (seconds(following) - seconds(one)) % DAY > float(one["pause"]) - ROUNDED


def test_workers_without_a_further_thread_serve_on(start: Start, transport: str | None) -> None:
    service, answers = serve(start), list[str]()
    before = workers(service)
    with limited(service):
        slow = [call(service, answers, "slow_echo", "value=1", "until=done") for _ in range(2)]
        wait_until(lambda: has_slow_call(service), SOON, "a call is in hand")
        for command in ("reload", "upgrade", "scale 3", "pause"):
            refused = service.run_command(*command.split())
            assert refused.status, command
            assert NEED in refused.stderr, (command, refused)
        service.signal(signal.SIGHUP)
        service.wait_for_line(f"no reload: {NEED}")
        service.signal(signal.SIGTTIN)
        service.wait_for_line(f"SIGTTIN cannot be followed: {NEED}")
        service.wait_for_line(f"periodic task .* failed: {NEED}")
        assert service.run_command("health", "--live").status == 0
    Path(service.state_path, "done").touch()
    for one in slow:
        one.join(SOON)
    assert answers == ["1", "1"]
    wait_until(lambda: status(service)["healthy"], SOON, "all are well")
    wait_until_all_prove_themselves(service)
    assert [one["pid"] for one in workers(service)] == [one["pid"] for one in before]
    assert service.run_command("reload").status == 0
    assert "Traceback" not in service.output


def test_a_stop_without_a_further_thread_loses_no_call(
    start: Start, transport: str | None
) -> None:
    """Calls in hand were ended: neither the master nor a worker had a thread for the drain."""
    service, answers = serve(start), list[str]()
    slow = call(service, answers, "slow_echo", "value=1", "until=done")
    wait_until(lambda: has_slow_call(service), SOON, "a call is in hand")
    with limited(service):
        service.signal(signal.SIGTERM)
        service.wait_for_line("stopping; 1 call in hand")
        Path(service.state_path, "done").touch()
        assert service.wait() == 0
    slow.join(SOON)
    assert answers == ["1"]
    assert "Traceback" not in service.output
    service.assert_nothing_left()


def test_a_pause_that_finds_no_thread_in_the_workers_follows_when_there_is_one(
    start: Start, transport: str | None
) -> None:
    service, said = serve(start), list[int]()
    limit(service.workers(), "1")
    asking = threading.Thread(target=lambda: said.append(service.run_command("pause").status))
    asking.start()
    for worker in (0, 1):
        service.wait_for_line(rf"worker={worker} .*a request of the master waits: {NEED}")
    limit(service.workers(), "")
    for worker in (0, 1):
        service.wait_for_line(rf"worker={worker} .*paused: no calls are taken")
    asking.join(SOON)
    assert said == [0]
    assert service.run_command("resume").status == 0
    assert "Traceback" not in service.output

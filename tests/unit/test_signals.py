"""Signals of the master. Each test has its own process, since masks and handlers stay."""

import os
import signal
import threading
from collections.abc import Callable

import pytest

from launcher import blocked_signals
from launcher.supervise.processes import signals
from tests.support.waiting import wait_until

SOON = 5.0


def in_child(action: Callable[[], object]) -> None:
    """Run `action` in a forked child; fail if it raises, or hangs until its alarm."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        try:
            action()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001  # a child must not run the other tests
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("number", sorted(blocked_signals.TAKEN))
def test_every_signal_reaches_its_handler(number: signal.Signals) -> None:
    def check() -> None:
        seen, came = list[signal.Signals](), threading.Event()

        def handle(which: signal.Signals) -> None:
            seen.append(which)
            came.set()

        blocked_signals.block()
        signals.start_threads({number: handle})
        os.kill(os.getpid(), number)
        assert came.wait(SOON)
        assert seen == [number]

    in_child(check)


def test_a_signal_without_a_handler_is_ignored_and_the_next_one_taken() -> None:
    def check() -> None:
        came = threading.Event()
        blocked_signals.block()
        signals.start_threads({signal.SIGHUP: lambda _: came.set()})
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTTIN)
        os.kill(os.getpid(), signal.SIGHUP)
        assert came.wait(SOON)

    in_child(check)


def test_a_signal_that_comes_before_the_thread_is_kept() -> None:
    def check() -> None:
        came = threading.Event()
        blocked_signals.block()
        os.kill(os.getpid(), signal.SIGTERM)
        signals.start_threads({signal.SIGTERM: lambda _: came.set()})
        assert came.wait(SOON)

    in_child(check)


def test_what_is_blocked_stays_so_across_a_fork() -> None:
    def check_mask() -> None:
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= blocked_signals.TAKEN

    def check() -> None:
        blocked_signals.block()
        in_child(check_mask)

    in_child(check)


def test_a_handler_that_gets_no_thread_ends_nothing() -> None:
    """The next signal may be the one that stops the service."""

    def check() -> None:
        came = threading.Event()

        def fail(_: signal.Signals) -> None:
            raise RuntimeError("can't start new thread")

        blocked_signals.block()
        signals.start_threads({signal.SIGHUP: fail, signal.SIGTERM: lambda _: came.set()})
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        assert came.wait(SOON)

    in_child(check)


def test_a_second_signal_is_not_lost_while_the_first_is_on_its_way() -> None:
    """cotyledon's stop ignores SIGTERM, which discards a pending one."""

    def check() -> None:
        entered, release, seen = threading.Event(), threading.Event(), threading.Semaphore(0)

        def handle(_: signal.Signals) -> None:
            entered.set()
            release.wait(2 * SOON)
            seen.release()

        blocked_signals.block()
        signals.start_threads({signal.SIGTERM: handle})
        os.kill(os.getpid(), signal.SIGTERM)
        assert entered.wait(SOON)
        os.kill(os.getpid(), signal.SIGTERM)
        wait_until(lambda: signal.SIGTERM not in signal.sigpending(), SOON, "it is taken")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        release.set()
        assert seen.acquire(timeout=SOON)
        assert seen.acquire(timeout=SOON)

    in_child(check)

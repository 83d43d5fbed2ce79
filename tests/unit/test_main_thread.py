"""The thread of a program's `main()` does not notice that it is not the main thread."""

import signal
import subprocess
import sys

PROGRAM = """
import signal, time
from launcher.program.main_thread import MainThread, allow_signals
allow_signals()
seen = []
def main():
    seen.append(signal.signal(signal.SIGALRM, lambda *_: seen.append("alarm")))
    seen.append(signal.alarm(1))
    seen.append(signal.setitimer(signal.ITIMER_REAL, 0.01))
MainThread(main).run()
signal.sigtimedwait({signal.SIGUSR1}, 0.3)  # an alarm would end the process
assert seen == [signal.SIG_DFL, 0, (0.0, 0.0)], seen
signal.signal(signal.SIGALRM, lambda *_: seen.append("ours"))
signal.setitimer(signal.ITIMER_REAL, 0.01)
while "ours" not in seen:
    signal.pause()
"""


def test_an_alarm_without_its_handler_does_not_end_the_worker() -> None:
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=60
    )
    assert found.returncode != -signal.SIGALRM
    assert (found.returncode, found.stderr) == (0, "")

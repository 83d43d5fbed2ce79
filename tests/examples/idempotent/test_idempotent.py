import os
import signal

from tests.examples.conftest import Start, in_background


def test_a_sibling_answers_the_call_of_a_killed_worker(start: Start) -> None:
    service = start()
    pipe = service.directory / "pipe"
    os.mkfifo(pipe)
    call = in_background(service, "call", "read", f"path={pipe}", "--timeout=60")
    victim = service.wait_for_line(r"pid=(\d+) .*reading ")[1]

    os.kill(int(victim), signal.SIGKILL)
    service.wait_for_line(rf"pid=(?!{victim}\b)\d+ .*reading ")
    pipe.write_text("hello")

    assert call.result().stdout == '"hello"\n'

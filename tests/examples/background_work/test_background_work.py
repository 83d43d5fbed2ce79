import os
import signal

from tests.examples.conftest import Start


def test_a_stop_waits_for_work_that_a_call_left_behind(start: Start) -> None:
    service = start()
    pipe, copy = service.directory / "pipe", service.directory / "copy"
    os.mkfifo(pipe)
    answer = service.run_command("call", "copy", f"source={pipe}", f"target={copy}")
    assert answer.stdout == "null\n"

    service.signal(signal.SIGTERM)
    service.wait_for_line("stopping; 1 call in hand, oldest copy of ")
    pipe.write_text("hello")

    assert service.wait() == 0
    assert copy.read_text() == "hello"

import os
import signal

from tests.examples.conftest import Start, in_background


def test_a_stop_waits_for_the_call_in_hand(start: Start) -> None:
    service = start()
    pipe = service.directory / "pipe"
    os.mkfifo(pipe)
    call = in_background(service, "call", "read", f"path={pipe}", "--timeout=60")
    pid = service.wait_for_line(r"pid=(\d+) .*reading ")[1]

    service.signal(signal.SIGTERM)
    service.wait_for_line(rf"pid={pid} .*stopping; 1 call in hand, oldest read")
    service.wait_for_line(rf"pid={pid} .*no new calls")
    assert f"pid={pid} cleaned up" not in service.output
    pipe.write_text("hello")

    assert call.result().stdout == '"hello"\n'
    assert service.wait() == 0
    assert service.output.count("cleaned up") == 2

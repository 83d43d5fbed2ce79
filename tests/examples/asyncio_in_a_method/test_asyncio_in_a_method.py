import json
import socket

import pytest

from tests.examples.conftest import Start


@pytest.mark.parametrize("method", ["scan", "scan_in_shared_loop"])
def test_a_method_runs_coroutines(start: Start, method: str) -> None:
    service = start()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        opened, closed = server.getsockname()[1], silent.getsockname()[1]
        answer = service.run_command(
            "call", method, "host=127.0.0.1", f"ports=[{opened},{closed}]"
        )
    assert json.loads(answer.stdout) == [opened]

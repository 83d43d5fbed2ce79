"""Somebody else has made the runtime directory beforehand, and listens there."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.directories.locations import CONTROL_SOCKET
from tests.support.commands import SCRIPTS, environment, run
from tests.support.directories import short_directory
from tests.support.users import ALICE, BOB, as_user, needs_root
from tests.support.waiting import wait_until

pytestmark = needs_root

SOON = 60.0
# Says that all is well, and more to the terminal; notes whatever it is told.
IMPOSTOR = """
import pathlib, socket, sys
place = pathlib.Path(sys.argv[1])
server = socket.socket(socket.AF_UNIX)
server.bind(str(place / "control.sock"))
(place / "control.sock").chmod(0o777)
server.listen()
body = b'{"status": "pass", "output": "\\\\u001b[2J all is well", "healthy": true, "workers": []}'
head = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body)
while True:
    visitor, _ = server.accept()
    said = visitor.recv(1000)
    with (place / "heard").open("ab") as heard:
        heard.write(said)
    if said:
        visitor.sendall(head + body)
    visitor.close()
"""


@pytest.fixture
def planted() -> Iterator[Path]:
    """A directory of Bob's in the place of Alice's."""
    with short_directory() as directory:
        directory.chmod(0o755)
        for name, owner in (("run", BOB), ("state", ALICE)):
            (directory / name).mkdir(mode=0o755)
            os.chown(directory / name, owner, owner)
        words = [*as_user(BOB, directory), sys.executable, "-c", IMPOSTOR, str(directory / "run")]
        impostor = subprocess.Popen(words)
        path = directory / "run" / CONTROL_SOCKET
        wait_until(lambda: path.exists() and path.stat().st_mode & 0o777 == 0o777, SOON, "there")
        yield directory
        impostor.kill()
        impostor.wait()


@pytest.mark.parametrize("words", [["health"], ["status"], ["status", "--json"], ["reload"]])
def test_a_stranger_answers_for_nobody(planted: Path, words: list[str]) -> None:
    """Not by what he says, nor by what his words do to a terminal; and he is told nothing."""
    env = environment(planted, planted / "state", planted / "run")
    script = str(SCRIPTS / "compute-launcher")

    answer = run([*as_user(ALICE, planted), script, *words], env=env, deadline=SOON)

    assert (answer.status, answer.stdout) == (77, ""), answer
    assert f"is not used: the directory belongs to uid {BOB}" in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert not (planted / "run" / "heard").exists(), "nothing is said to him"

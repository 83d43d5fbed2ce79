"""Foreign programs that launch their services in other ways: each is proven, reloaded, stopped."""

import os
import signal

import oslo_messaging
import pytest
from oslo_config import cfg

from tests.functional.service.faults import status, workers
from tests.functional.service.foreign import PROGRAMS, SOON, Call, Run, Theirs, answerers
from tests.support.rabbitmq import Vhost
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

# The services of each.
KINDS = {
    "kinds:process_launcher": ["Second", "Service"],
    "kinds:service_launcher": ["Service"],
    "kinds:base_launcher": ["Second", "Service"],
    "kinds:at_once": ["Service"],
    "kinds:without_a_fork": ["Service"],
    "kinds:two_of_cotyledon": ["SecondOfCotyledon", "Service"],
    "kinds:nested": ["Outer"],  # the other one is its own affair
    "kinds:waiting_briefly": ["AfterBriefly", "Briefly"],
    "kinds:waiting_in_start": ["Second", "Waiting"],
    "kinds:own_manager": ["Service"],
    "kinds:failing_in_the_stop": ["FailingInTheStop", "Service"],
    "kinds:cleaning_up": ["Service"],
    "kinds:threads_and_children": ["Service"],
    "package.__main__:main": ["Service"],
    "using_eventlet:main": ["Service"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_serves(run: Run, call: Call, theirs: Theirs, rabbit: Vhost, kind: str) -> None:
    """Also a worker that is forked later, when the modules of the first one are remembered."""
    service = run(f"{PROGRAMS}.{kind}", "--workers=2")
    service.wait_ready()
    pids = [worker["pid"] for worker in workers(service)]

    def another_serves() -> bool:
        found = workers(service)  # of one moment
        return {one["state"] for one in found} == {"serving"} and found[1]["pid"] != pids[1]

    assert answerers(call, 2) == set(pids)
    if len(KINDS[kind]) > 1 or kind == "kinds:nested":
        transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=rabbit.url)
        target = oslo_messaging.Target("launcher", topic="second", server="node-1")
        client = oslo_messaging.get_rpc_client(transport, target, timeout=10)
        assert client.call({}, "tell")[0] in pids
        transport.cleanup()
    assert sorted(status(service)["program"]["services"]) == KINDS[kind]
    os.kill(pids[1], signal.SIGKILL)
    wait_until(another_serves, SOON, "another one serves")
    theirs.set(word="new")
    checked = service.run_command(f"--program={PROGRAMS}.{kind}", "config", "check")
    uses = "it is imported, though nothing is patched" if "eventlet" in kind else "does not need"
    assert checked.status == 0
    assert uses in checked.stdout
    answer = service.run_command("reload")
    assert (answer.status, answer.stderr) == (0, "")
    assert call("tell")[1] == "new"
    assert answerers(call, 2) == {worker["pid"] for worker in workers(service)}
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    service.assert_nothing_left()

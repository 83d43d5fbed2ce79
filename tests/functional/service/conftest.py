"""Starting a service with one of the managers beside this file, on either bus."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import oslo_messaging
import pytest
from oslo_config import cfg

from tests.functional.conftest import Launch
from tests.functional.service.faults import FAST
from tests.functional.service.foreign import Call, Run, Theirs, program_of
from tests.support.processes import Launcher
from tests.support.rabbitmq import Vhost

Start = Callable[..., Launcher]
CHECKOUT = Path(__file__).parents[3]


@pytest.fixture(params=["unix", "rabbit"])
def transport(request: pytest.FixtureRequest) -> str | None:
    """Both buses, for what depends on the bus; None: the embedded default."""
    if request.param == "unix":
        return None
    rabbit: Vhost = request.getfixturevalue("rabbit")
    return rabbit.url


@pytest.fixture
def start(launch: Launch, request: pytest.FixtureRequest) -> Start:
    """`start("Traced", "--workers=2", config={…})`; on the bus of `transport`, if the test has it,
    else on the embedded one."""
    url = request.getfixturevalue("transport") if "transport" in request.fixturenames else None

    def begin(
        manager: str,
        *options: str,
        config: Mapping[str, Mapping[str, object]] | None = None,
        env: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> Launcher:
        merged = {group: dict(values) for group, values in (config or {}).items()}
        main = merged.setdefault("DEFAULT", {})
        main.setdefault("workers", 2)
        main.setdefault("manager", f"tests.functional.service.managers:{manager}")
        if url is not None:
            main.setdefault("transport_url", url)
        path = {"PYTHONPATH": str(CHECKOUT)} | dict(env or {})
        return launch(*options, config=merged, env=path, **settings)

    return begin


@pytest.fixture
def theirs(tmp_path: Path, rabbit: Vhost) -> Theirs:
    """Read by a foreign program."""
    path = tmp_path / "program.conf"
    return Theirs(path, host="node-1", state_path=tmp_path, transport_url=rabbit.url)


@pytest.fixture
def run(launch: Launch, theirs: Theirs) -> Run:
    """`run("oslo_program", "--workers=2")`: a foreign program."""

    def begin(kind: str, *options: str, **settings: Any) -> Launcher:
        arguments = settings.pop("arguments", (f"--config-file={theirs.path}",))
        words = (f"--program={program_of(kind)}", *options, "--", *arguments)
        env = {"PYTHONPATH": str(CHECKOUT)} | settings.pop("env", {})
        return launch(*words, config=settings.pop("config", FAST), env=env, **settings)

    return begin


@pytest.fixture
def call(rabbit: Vhost) -> Iterator[Call]:
    """Calls a method of a foreign program."""
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, url=rabbit.url)
    target = oslo_messaging.Target("launcher", topic="compute", server="node-1")
    client = oslo_messaging.get_rpc_client(transport, target, timeout=10)

    def call(method: str) -> Any:
        return client.call({}, method)

    yield call
    transport.cleanup()

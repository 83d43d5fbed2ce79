"""Starting a service with one of the managers beside this file, on either bus."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.functional.conftest import Launch
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

"""`config show --for`: what is printed is valid, and follows the options in force."""

from collections.abc import Callable
from configparser import RawConfigParser
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from oslo_config import cfg

from launcher.cli import deployment
from launcher.cli.parser import PLATFORMS
from launcher.config import loader

Show = Callable[..., Any]


@pytest.fixture
def show() -> Show:
    """The text for a platform, read, with these options set."""

    def show(platform: str, *config_args: str, **options: object) -> Any:
        conf = cfg.ConfigOpts()
        loader.register(conf, bus=False)
        conf([], prog="compute-launcher", default_config_files=[], default_config_dirs=[])
        for name, value in options.items():
            group, _, option = name.rpartition("__")
            conf.set_override(option, value, group or None)
        text = deployment.text(platform, conf, config_args)
        if platform != "systemd":
            return yaml.safe_load(text)
        parser = RawConfigParser(strict=True)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(text)
        return parser

    return show


def test_every_platform_of_the_grammar_has_a_text() -> None:
    assert tuple(deployment.TEXTS) == PLATFORMS


def test_a_pod_lets_a_drain_and_a_start_end(show: Show) -> None:
    spec = show("kubernetes", start_timeout=100, graceful_shutdown_timeout=60)
    assert spec["terminationGracePeriodSeconds"] == 75
    (container,) = spec["containers"]
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 600
    assert startup["exec"]["command"] == ["compute-launcher", "health", "--started"]
    assert container["livenessProbe"]["exec"]["command"][2] == "--live"
    assert container["readinessProbe"]["exec"]["command"][2] == "--ready"


def test_files_that_are_named_are_named_to_service_and_probes(show: Show) -> None:
    named = "--config-file=/etc/a b.conf"
    (container,) = show("kubernetes", named)["containers"]
    assert container["command"] == ["compute-launcher", named]
    assert container["livenessProbe"]["exec"]["command"][-1] == named
    (service,) = show("pebble", named)["services"].values()
    assert service["command"] == f"compute-launcher '{named}'"


@pytest.mark.parametrize(
    ("listen", "action"),
    [
        ("0.0.0.0:8080", {"path": "/livez", "port": 8080}),
        ("[::]:8080", {"path": "/livez", "port": 8080}),
        ("[fd00::1]:8080", {"path": "/livez", "port": 8080, "host": "fd00::1"}),
        ("127.0.0.1:8080", None),
        ("[::1]:8080", None),
    ],
)
def test_a_pod_is_asked_at_a_port_that_can_be_reached_from_outside(
    show: Show, listen: str, action: dict[str, Any] | None
) -> None:
    (container,) = show("kubernetes", health__listen=listen)["containers"]
    assert container["livenessProbe"].get("httpGet") == action


def test_a_layer_lets_a_drain_end_and_asks_at_the_port(show: Show) -> None:
    layer = show("pebble", graceful_shutdown_timeout=60, health__listen="0.0.0.0:8080")
    (service,) = layer["services"].values()
    assert service["kill-delay"] == "75s"
    (alive,) = service["on-check-failure"]
    assert layer["checks"][alive]["http"]["url"] == "http://127.0.0.1:8080/livez"
    assert {check["level"] for check in layer["checks"].values()} == {"alive", "ready"}


def test_kolla_looks_at_the_file_or_asks(show: Show) -> None:
    found = show("kolla", health__touch_file="/run/x/alive")
    assert found["healthcheck"]["test"] == ["CMD-SHELL", "healthcheck_filemod /run/x/alive 30"]
    assert found["docker_graceful_timeout"] == 195
    assert show("kolla")["healthcheck"]["test"][1] == "compute-launcher health --live"


def test_a_unit_has_time_for_a_step_of_the_start(show: Show) -> None:
    unit = show("systemd", start_timeout=20)
    assert unit["Service"]["TimeoutStartSec"] == "50"
    assert unit["Unit"]["StartLimitIntervalSec"] == "400"


def test_a_drain_without_a_limit_gets_a_day(show: Show) -> None:
    spec = show("kubernetes", graceful_shutdown_timeout=0)
    assert spec["terminationGracePeriodSeconds"] == 86415

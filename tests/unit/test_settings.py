"""What a service is: given, or else configured."""

import pytest
from oslo_config import cfg

from launcher.compute.compute_manager import ComputeManager
from launcher.config import loader
from launcher.errors import ManagerNotFound
from launcher.serve.manager import Manager
from launcher.serve.settings import Settings


class Other(Manager):
    """Another application."""


@pytest.fixture
def conf(monkeypatch: pytest.MonkeyPatch) -> cfg.ConfigOpts:
    for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    conf = cfg.ConfigOpts()
    loader.load(conf, "compute-launcher", ["--config-file=/dev/null"], host="node-1")
    return conf


def test_what_is_not_given_comes_from_the_configuration(conf: cfg.ConfigOpts) -> None:
    conf.set_override("spacing", {"probe": "5"}, group="periodic_tasks")
    conf.set_override("periodic_interval_max", 300)

    settings = Settings.fill_in(conf)

    assert (settings.host, settings.binary) == ("node-1", "compute-launcher")
    assert (settings.topic, settings.manager) == ("compute", ComputeManager)
    assert settings.report_interval == 10
    assert (settings.timing.enabled, settings.timing.fuzzy_delay) == (True, 60)
    assert settings.timing.interval_max == 300
    assert settings.timing.spacing == {"probe": 5.0}
    assert settings.backdoor is False


def test_what_is_given_stays(conf: cfg.ConfigOpts) -> None:
    settings = Settings.fill_in(
        conf,
        host="node-2",
        binary="conductor-launcher",
        topic="elsewhere",
        manager=Other,
        report_interval=1,
        periodic_enable=False,
        periodic_fuzzy_delay=0,
        periodic_interval_max=7,
    )

    assert (settings.host, settings.binary) == ("node-2", "conductor-launcher")
    assert (settings.topic, settings.manager) == ("elsewhere", Other)
    assert settings.report_interval == 1
    assert (settings.timing.enabled, settings.timing.fuzzy_delay) == (False, 0)
    assert settings.timing.interval_max == 7


def test_none_counts_as_not_given(conf: cfg.ConfigOpts) -> None:
    assert Settings.fill_in(conf, host=None, topic=None) == Settings.fill_in(conf)


def test_topic_and_manager_follow_the_binary(conf: cfg.ConfigOpts) -> None:
    assert Settings.fill_in(conf, binary="other-launcher", manager=Other).topic == "other"
    with pytest.raises(ManagerNotFound, match="no manager 'other'"):
        Settings.fill_in(conf, binary="other-launcher")


def test_a_manager_may_be_given_by_name(conf: cfg.ConfigOpts) -> None:
    given = Settings.fill_in(conf, manager=f"{ComputeManager.__module__}:ComputeManager")

    assert given.manager is ComputeManager


def test_a_misspelt_argument_is_an_error(conf: cfg.ConfigOpts) -> None:
    with pytest.raises(TypeError, match="a service has no report_intervall"):
        Settings.fill_in(conf, report_intervall=5)

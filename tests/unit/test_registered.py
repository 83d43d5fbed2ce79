"""Options that others register are checked with ours, whenever they do so."""

from pathlib import Path

import pytest
from oslo_config import cfg

from launcher.config import registered
from launcher.errors import OptionError
from launcher.serve import loading
from launcher.serve.manager import Manager

WRONG = r"^option \[gauge\] offset in .*x.conf: 'warm' is no number$"


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> cfg.ConfigOpts:
    """The global one, as a manager registers an option in it. The file gives a wrong value."""
    file = tmp_path / "x.conf"
    file.write_text("[gauge]\noffset = warm\n")
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[str(file)], default_config_dirs=[])
    conf.register_opt(cfg.FloatOpt("offset"), "gauge")
    monkeypatch.setattr(cfg, "CONF", conf)
    return conf


def test_a_wrong_value_is_found(conf: cfg.ConfigOpts) -> None:
    with pytest.raises(OptionError, match=WRONG):
        registered.check(conf)


def test_a_required_option_that_is_not_set_is_found() -> None:
    """oslo.config says so only of an option that is there when it reads the files."""
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[], default_config_dirs=[])
    conf.register_opt(cfg.StrOpt("place", required=True), "gauge")
    wanted = r"^option \[gauge\] place: it is required, and is not set$"
    with pytest.raises(OptionError, match=wanted):
        registered.check(conf)


def test_options_of_another_configuration_are_adopted(conf: cfg.ConfigOpts) -> None:
    """Those that both have stay as they are."""
    fresh = cfg.ConfigOpts()
    fresh.register_opt(cfg.IntOpt("workers", default=2))
    fresh([], default_config_files=conf.config_file, default_config_dirs=[])
    conf.register_opt(cfg.IntOpt("workers", default=1))
    registered.adopt(fresh, conf)
    assert fresh.workers == 2
    assert registered.options(fresh).keys() == registered.options(conf).keys()
    with pytest.raises(OptionError, match=WRONG):
        registered.check(fresh)


def test_a_preload_that_reads_a_wrong_value_is_explained(conf: cfg.ConfigOpts) -> None:
    class Gauge(Manager):
        @classmethod
        def preload(cls, state_path: str) -> None:
            str(conf.gauge.offset)

    with pytest.raises(OptionError, match=WRONG):
        loading.preload_manager(Gauge, "/nowhere")


def test_an_import_that_reads_a_wrong_value_is_explained(
    conf: cfg.ConfigOpts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "gauge_that_reads.py"
    module.write_text("from oslo_config import cfg\nprint(cfg.CONF.gauge.offset)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(OptionError, match=WRONG):
        loading.manager_class("gauge_that_reads:Gauge", "gauge-launcher")


def test_another_error_stays_as_it_is(conf: cfg.ConfigOpts) -> None:
    error = ValueError("warm")
    assert registered.explained(conf, error) is error

"""What the files set and nothing reads is named, with what may be meant."""

import pytest
from oslo_config import cfg

from launcher.config import unknown_options
from launcher.config.file_contents import OptionKey


@pytest.fixture
def conf() -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    old = cfg.DeprecatedOpt("url", group="sql")
    conf.register_opt(cfg.StrOpt("connection", deprecated_opts=[old]), "database")
    conf.register_opt(cfg.IntOpt("beat-timeout", default=1), "health")
    conf([], default_config_files=[], default_config_dirs=[])
    return conf


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (("database", "connection"), None),
        (("Database", "connection"), None),
        (("health", "beat-timeout"), None),
        (("health", "beat_timeout"), None),
        (("sql", "url"), None),
        (("credential", "connection"), None),
        (("DEFAULT", "config_source"), None),
        (("DEFAULT", "rpc_response_timeout"), None),
        (("thermometer", "offset"), None),
        (("oslo_messaging_rabbit", "ssl"), None),
        (("database", "conection"), "no option conection in [database]; is connection meant?"),
        (("database", "x"), "no option x in [database]; is it misspelt?"),
        (("databse", "connection"), "no section [databse]; is [database] meant?"),
        (("oslo_messaging_rabit", "ssl"), "no section [oslo_messaging_rabit]; is ["
         "oslo_messaging_rabbit] meant?"),
    ],
)  # fmt: skip
def test_what_is_unknown_is_named(
    conf: cfg.ConfigOpts, key: OptionKey, sentence: str | None
) -> None:
    told = unknown_options.sentences(conf, [key])
    assert told == ([] if sentence is None else [f"there is {sentence}"])


def test_a_section_is_named_once(conf: cfg.ConfigOpts) -> None:
    assert len(unknown_options.sentences(conf, [("healht", "a"), ("healht", "b")])) == 1

"""RabbitMQ options with which no connection can be made are found before the first one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from oslo_config import cfg
from oslo_messaging._drivers import impl_rabbit

from launcher.config import loader
from launcher.errors import ConfigError
from launcher.serve import loading

URL = "rabbit://u:<secret>@broker:5672/"


@pytest.fixture(autouse=True)
def defaults_of_the_driver() -> Iterator[None]:
    """`preload` changes some, of the whole process."""
    before = {opt.dest: opt.default for opt in impl_rabbit.rabbit_opts}
    yield
    cfg.set_defaults(impl_rabbit.rabbit_opts, **before)


def preload(tmp_path: Path, text: str, url: str = URL) -> cfg.ConfigOpts:
    file = tmp_path / "launcher.conf"
    file.write_text(
        f"[DEFAULT]\ntransport_url = {url}\nhost = node-1\nruntime_path = {tmp_path}/run\n"
        f"state_path = {tmp_path}\n[oslo_messaging_rabbit]\n{text}\n"
    )
    conf = cfg.ConfigOpts()
    loader.load(conf, "compute-launcher", [f"--config-file={file}"])
    loading.preload(conf)
    return conf


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("heartbeat_timeout_threshold = 65536", "out of its range, 0 to 65535"),
        ("heartbeat_timeout_threshold = -1", "out of its range"),
        ("heartbeat_rate = 0", "out of its range, 1 to"),
        ("rabbit_qos_prefetch_count = 70000", "out of its range, 65535 or less"),
        ("rabbit_transient_queues_ttl = 4294968", "out of its range, 0 to 4294967"),
        ("conn_pool_ttl = -1", "out of its range, 0 or more"),
        ("rabbit_ha_queues = true\nrabbit_quorum_queue = true", "rabbit_quorum_queue is set"),
        (
            "rabbit_ha_queues = true\nrabbit_transient_quorum_queue = true",
            "rabbit_transient_quorum_queue is set, not both",
        ),
        ("amqp_auto_delete = true\nrabbit_quorum_queue = true", "never deleted automatically"),
        ("rabbit_stream_fanout = true", "needs rabbit_transient_quorum_queue = true"),
        *(
            (
                "rabbit_stream_fanout = true\nrabbit_transient_quorum_queue = true" + more,
                "needs a rabbit_qos_prefetch_count above 0",
            )
            for more in ("", "\nrabbit_qos_prefetch_count = -1")
        ),
        ("kombu_compression = brotly", "there is no 'brotly'"),
        ("ssl_version = sslv9\nssl = true", "there is no 'sslv9'"),
        ("ssl_ca_file = /no/such\nssl = true", "/no/such cannot be used: No such file"),
        ("ssl_ca_file = /etc/hostname\nssl = true", "/etc/hostname cannot be used"),
        ("ssl_cert_file = /no\nssl_key_file = /such\nssl = true", "/no and /such cannot be"),
    ],
)
def test_a_value_that_cannot_work_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        preload(tmp_path, text)
    assert words in str(caught.value)
    assert text.partition(" ")[0] in str(caught.value)
    assert "<secret>" not in str(caught.value)
    assert caught.value.exit_status == 78


@pytest.mark.parametrize("count", [-70000, -1, 0, 1, 65535])
def test_a_prefetch_of_no_limit_is_what_the_driver_takes(tmp_path: Path, count: int) -> None:
    """Ours is never more than a server has threads: see `launcher.rabbit.subscription`."""
    conf = preload(tmp_path, f"rabbit_qos_prefetch_count = {count}")
    assert conf.oslo_messaging_rabbit.rabbit_qos_prefetch_count == count


def test_a_pool_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be greater"):
        preload(tmp_path, "conn_pool_min_size = 50")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?no_such=1", "its query is wrong: no such option no_such"),
        ("?rabbit_quorum_queue=perhaps", "its query is wrong: "),
        ("?heartbeat_rate=0", "heartbeat_rate: 0 is out of its range"),
        ("?<secret>=x@other/", "its query is wrong; are / : @ # ?"),
    ],
)
def test_options_of_the_url_are_checked_too(tmp_path: Path, query: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        preload(tmp_path, "", URL + query)
    assert words in str(caught.value)
    assert "<secret>" not in str(caught.value)
    assert caught.value.exit_status == 78


def test_names_of_queues_are_those_of_one_service(tmp_path: Path) -> None:
    names: list[str] = []
    for text in ("", "", "processname = mine"):
        (directory := tmp_path / str(len(names))).mkdir()
        names.append(preload(directory, text).oslo_messaging_rabbit.processname)
    assert names[0].startswith("compute-launcher-")
    assert names[0] != names[1]
    assert names[2] == "mine"


def test_idle_connections_are_closed_unless_an_operator_keeps_them(tmp_path: Path) -> None:
    rabbit = preload(tmp_path, "").oslo_messaging_rabbit
    assert (rabbit.conn_pool_min_size, rabbit.conn_pool_ttl) == (0, 60)
    rabbit = preload(tmp_path, "conn_pool_min_size = 3").oslo_messaging_rabbit
    assert (rabbit.conn_pool_min_size, rabbit.conn_pool_ttl) == (3, 60)

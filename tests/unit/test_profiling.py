"""osprofiler: off unless it is installed and switched on."""

from collections.abc import Iterator

import pytest
from oslo_config import cfg

from launcher.serve import profiling
from launcher.serve.rpc import expose


class Endpoint:
    @expose
    def double(self, context: object, number: int) -> int:
        return 2 * number


@pytest.fixture
def conf() -> Iterator[cfg.ConfigOpts]:
    conf = cfg.ConfigOpts()
    profiling.register(conf, {"profiler"})
    conf([], default_config_files=[], default_config_dirs=[])
    yield conf
    conf.clear_override(
        "enabled", group="profiler"
    )  # osprofiler's group is one for all ConfigOpts


def test_it_is_off_by_default(conf: cfg.ConfigOpts) -> None:
    assert not profiling.enabled(conf)


def test_it_is_off_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "find_spec", lambda name: None)
    conf = cfg.ConfigOpts()

    profiling.register(conf, {"profiler"})

    assert not profiling.enabled(conf)


def test_it_is_not_even_imported_where_nobody_configures_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    conf = cfg.ConfigOpts()
    monkeypatch.delenv("OS_PROFILER__ENABLED", raising=False)
    profiling.register(conf, {"DEFAULT"})
    assert "profiler" not in conf

    monkeypatch.setenv("OS_PROFILER__ENABLED", "true")
    profiling.register(conf, {"DEFAULT"})
    conf([], default_config_files=[], default_config_dirs=[])
    assert profiling.enabled(conf)


def test_off_it_leaves_an_endpoint_alone(conf: cfg.ConfigOpts) -> None:
    before = dict(vars(Endpoint))
    endpoint = Endpoint()

    assert profiling.traced(conf, endpoint) is endpoint
    assert dict(vars(Endpoint)) == before


def test_on_it_traces_an_endpoint_that_stays_exposed(conf: cfg.ConfigOpts) -> None:
    class Traced(Endpoint):
        @expose
        def double(self, context: object, number: int) -> int:
            return 2 * number

    conf.set_override("enabled", True, group="profiler")
    plain = Traced.double

    endpoint = profiling.traced(conf, Traced())

    assert Traced.double is not plain
    assert endpoint.double({}, 21) == 42
    assert endpoint.double.exposed


def test_on_it_is_set_up_for_this_host(
    conf: cfg.ConfigOpts, monkeypatch: pytest.MonkeyPatch
) -> None:
    from osprofiler import initializer  # noqa: PLC0415  # optional

    said: list[dict[str, object]] = []
    monkeypatch.setattr(initializer, "init_from_conf", lambda **facts: said.append(facts))

    profiling.setup(conf, "compute-launcher", "node-1")
    assert said == []
    conf.set_override("enabled", True, group="profiler")
    profiling.setup(conf, "compute-launcher", "node-1")

    assert said == [
        {
            "conf": conf,
            "context": {},
            "project": "compute",
            "service": "compute-launcher",
            "host": "node-1",
        }
    ]

"""Options of the unix:// driver, and the settings that one driver works with.

The query part of a transport URL overrides the configuration: `unix:///run/x/bus?prefetch=1`.
"""

from typing import Any, NamedTuple

from oslo_config import cfg
from oslo_messaging import InvalidTransportURL
from oslo_messaging._drivers.common import ConfigOptsProxy

GROUP = "oslo_messaging_unix"

OPTS: list[cfg.Opt] = [
    cfg.IntOpt(
        "prefetch",
        min=1,
        sample_default="<executor_thread_pool_size>",
        help="Calls that a server may hold unfinished before it takes another one; the rest waits "
        "in the queue, where any other server may take it.",
    ),
    cfg.IntOpt(
        "max_message_size",
        default=64 * 1024 * 1024,
        min=1024,
        help="Bytes: the largest message or reply, as it is written. A larger one is refused "
        "where it is sent.",
    ),
]

EXECUTOR_THREADS = 64  # oslo.messaging's default of executor_thread_pool_size


class Settings(NamedTuple):
    """Plain values of OPTS: unfinished calls a server (None: as many as it has threads), and
    bytes a message."""

    prefetch: int | None
    max_message_size: int

    def room(self, conf: cfg.ConfigOpts) -> int:
        """Unfinished calls of a server that exists by now: it has registered its own option."""
        threads: int = getattr(conf, "executor_thread_pool_size", EXECUTOR_THREADS)
        return self.prefetch or threads


def read_settings(conf: cfg.ConfigOpts, url: Any) -> Settings:
    """The settings of one driver.

    :raises InvalidTransportURL: the query names no option, or gives a value out of bounds.
    """
    conf.register_opts(OPTS, group=GROUP)
    try:
        group = ConfigOptsProxy(conf, url, GROUP)[GROUP]
        return Settings(group.prefetch, group.max_message_size)
    except (AttributeError, ValueError) as error:  # no such option; not of its type or range
        raise InvalidTransportURL(str(url), f"the query of {url} is wrong: {error}") from error


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """For the generated sample configuration."""
    return [(GROUP, OPTS)]

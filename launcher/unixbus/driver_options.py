"""Options of the unix:// driver, and their values for one driver.

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

# Not in the sample: commands set it if the file system does not show the uid of the service.
SERVICE_UID = cfg.IntOpt(
    "service_uid", min=0, help="The user id of the service, as the kernel shows it."
)

EXECUTOR_THREADS = 64  # oslo.messaging's default of executor_thread_pool_size


class Settings(NamedTuple):
    """Values of OPTS.

    :ivar prefetch: unfinished calls of a server; None: as many as it has threads.
    :ivar max_message_size: bytes.
    """

    prefetch: int | None
    max_message_size: int

    def unfinished_limit(self, conf: cfg.ConfigOpts) -> int:
        """Return how many unfinished calls a server may hold. After the server was made, which
        registers the option of its threads."""
        threads: int = getattr(conf, "executor_thread_pool_size", EXECUTOR_THREADS)
        return self.prefetch or threads


def read_settings(conf: cfg.ConfigOpts, url: Any) -> Settings:
    """Read the settings of one driver.

    :raises InvalidTransportURL: the query names an unknown option, or a value out of bounds.
    """
    conf.register_opts(OPTS, group=GROUP)
    try:
        group = ConfigOptsProxy(conf, url, GROUP)[GROUP]
        return Settings(group.prefetch, group.max_message_size)
    except (AttributeError, ValueError) as error:  # no such option; not of its type or range
        raise InvalidTransportURL(str(url), f"the query of {url} is wrong: {error}") from error


def trust_service_user(conf: cfg.ConfigOpts, uid: int) -> None:
    """Called by a command that root runs: trust messages and replies of this user, as the kernel
    names it, instead of the owner that the file system shows."""
    conf.register_opt(SERVICE_UID, group=GROUP)
    conf.set_override("service_uid", uid, group=GROUP)


def trusted_users(conf: cfg.ConfigOpts) -> frozenset[int]:
    """Return the users to trust instead of our own; an empty set: our own."""
    conf.register_opt(SERVICE_UID, group=GROUP)
    uid = conf[GROUP].service_uid
    return frozenset() if uid is None else frozenset({uid})


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """For the generated sample configuration."""
    return [(GROUP, OPTS)]

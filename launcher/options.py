"""Every option of ours, with its unit, minimum and help."""

import os
from collections.abc import Sequence

from oslo_config import cfg

MOST_WORKERS = 400

DEFAULT_OPTS = [
    cfg.HostDomainOpt(
        "host",
        sample_default="<host name>",
        help="Name of this host: the RPC server's name and the key of its rows in the registry.",
    ),
    cfg.IntOpt(
        "workers",
        default=len(os.sched_getaffinity(0)),
        sample_default="<processors available>",
        min=1,
        max=MOST_WORKERS,
        mutable=True,
        help="Number of worker processes.",
    ),
    cfg.StrOpt(
        "manager",
        help="The application to run: a name of the entry-point group launcher.managers, or "
        "package.module:Class. By default the script's name without '-launcher'.",
    ),
    cfg.StrOpt(
        "state_path",
        sample_default="$STATE_DIRECTORY, else $XDG_STATE_HOME/<binary>",
        help="Directory of what outlives a restart: the embedded database.",
    ),
    cfg.StrOpt(
        "runtime_path",
        sample_default="$RUNTIME_DIRECTORY, else $XDG_RUNTIME_DIR/<binary>",
        help="Directory of what does not: locks, sockets and the embedded bus. One running "
        "service a directory.",
    ),
    cfg.IntOpt(
        "report_interval",
        default=10,
        min=1,
        help="Seconds between two reports of this host to the services table.",
    ),
    cfg.IntOpt(
        "service_down_time",
        default=60,
        min=2,
        help="Seconds after its last report from which a service counts as down. Has to be "
        "larger than report_interval.",
    ),
    cfg.BoolOpt("periodic_enable", default=True, help="Run the manager's periodic tasks."),
    cfg.IntOpt(
        "periodic_fuzzy_delay",
        default=60,
        min=0,
        help="Seconds: the first run of each periodic task is delayed at random by up to so "
        "much, so that a fleet started at once does not stampede. 0: no delay.",
    ),
    cfg.IntOpt(
        "periodic_interval_max",
        min=1,
        help="Seconds: an upper bound on the spacing of every periodic task. Unset: none.",
    ),
    cfg.IntOpt(
        "start_timeout",
        default=90,
        min=1,
        help="Seconds that a worker may take for one step of its start, waiting for bus or "
        "database included.",
    ),
    cfg.IntOpt(
        "graceful_shutdown_timeout",
        default=180,
        min=0,
        help="Seconds that a stop waits for calls in hand before it kills. 0: without end.",
    ),
    cfg.IntOpt(
        "manager_shutdown_timeout",
        default=160,
        min=0,
        help="Seconds of the above that the manager's own graceful_shutdown may take.",
    ),
    cfg.BoolOpt(
        "backdoor",
        default=False,
        help="Open a Python console into each worker on a unix socket "
        "<runtime_path>/backdoor.<slot>, for whoever may write there. For debugging only.",
    ),
]

DATABASE_OPTS = [
    cfg.StrOpt(
        "connection",
        secret=True,
        sample_default="sqlite:///<state_path>/launcher.sqlite",
        help="SQLAlchemy URL of the registry. The default is made and migrated by itself.",
    ),
]

HEALTH_OPTS = [
    cfg.FloatOpt(
        "beat_timeout",
        default=30,
        min=1,
        max=86400,
        help="Seconds without a round of a worker's periodic loop from which it is late.",
    ),
    cfg.FloatOpt(
        "probe_interval",
        default=30,
        min=1,
        max=86400,
        help="Seconds between two round trips of a worker to itself through the bus.",
    ),
    cfg.FloatOpt(
        "probe_timeout",
        default=10,
        min=0.1,
        max=86400,
        help="Seconds that such a round trip may take.",
    ),
    cfg.FloatOpt(
        "wedged_after",
        default=120,
        mutable=True,
        min=1,
        max=86400,
        help="Seconds for which the round trips of one worker may fail, while those of another "
        "one all succeed, before it is late. It is found at most two probe_intervals and a "
        "probe_timeout after that. While they fail in all workers, none is: the bus is away. "
        "When it is back, workers find it one after the other: let this be longer than the "
        "pauses between two attempts ([oslo_messaging_rabbit] rabbit_interval_max).",
    ),
]

SUPERVISION_OPTS = [
    cfg.IntOpt(
        "restart_limit",
        default=5,
        mutable=True,
        min=0,
        help="Deaths of one worker within restart_window seconds before the master gives up. A "
        "death is found at once when the process ends; when it hangs, after the time limit that "
        "it misses: start_timeout and 2 s for a step of its start, [health] beat_timeout when its "
        "loop stands still or the process is stopped, the task's own timeout when one task is "
        "stuck, [health] wedged_after when only calls do not reach it; then a round of the "
        "monitor, 1 s at most. It is aborted, shows its stacks, and is killed 2 s later if need "
        "be.",
    ),
    cfg.FloatOpt(
        "restart_window", default=120, min=1, mutable=True, help="Seconds; see restart_limit."
    ),
    cfg.FloatOpt(
        "stable_after",
        default=30,
        mutable=True,
        min=0,
        help="Seconds of serving after which a worker's death is not counted and it is replaced "
        "at once.",
    ),
    cfg.FloatOpt(
        "backoff_max",
        default=30,
        mutable=True,
        min=0,
        help="Seconds: the longest pause before a worker that keeps dying is started again.",
    ),
]

PERIODIC_OPTS = [
    cfg.DictOpt(
        "spacing",
        default={},
        help="Seconds between two runs, by task: 'name:seconds, name:seconds'. Overrides what "
        "the manager says; a negative number disables the task.",
    ),
]

METRICS_OPTS = [
    cfg.StrOpt(
        "listen",
        regex=r"(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]{1,5}",
        help="Address and port on which GET /metrics is answered to whoever can reach it, as "
        "127.0.0.1:9464 or [::1]:9464. By default on the control socket only.",
    ),
]

GROUPS: dict[str | None, Sequence[cfg.Opt]] = {
    None: DEFAULT_OPTS,
    "database": DATABASE_OPTS,
    "health": HEALTH_OPTS,
    "supervision": SUPERVISION_OPTS,
    "periodic_tasks": PERIODIC_OPTS,
    "metrics": METRICS_OPTS,
}


def list_opts() -> list[tuple[str | None, Sequence[cfg.Opt]]]:
    """Entry point `oslo.config.opts`, for the generated sample."""
    return list(GROUPS.items())

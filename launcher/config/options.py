"""Our options, each with its unit, minimum and help. The module is long: it is one list."""

import os
from collections.abc import Sequence

from oslo_config import cfg

from launcher.board.board import MOST_SPARES

MOST_WORKERS = 400
ADDRESS = r"(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]{1,5}"

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
        help="The application to run: a name in the entry-point group launcher.managers, or "
        "package.module:Class. The package may lie in the current directory if only root and the "
        "user of the service can write there. By default the script's name without '-launcher'.",
    ),
    cfg.StrOpt(
        "state_path",
        sample_default="$STATE_DIRECTORY, else $XDG_STATE_HOME/<binary>",
        help="Directory for files that outlive a restart: the embedded database.",
    ),
    cfg.StrOpt(
        "runtime_path",
        sample_default="$RUNTIME_DIRECTORY, else $XDG_RUNTIME_DIR/<binary>",
        help="Directory for locks, sockets and the embedded bus with the calls that wait there. "
        "systemd keeps it in a restart of the service, and removes it in a stop. Each running "
        "service needs its own.",
    ),
    cfg.IntOpt(
        "report_interval",
        default=10,
        min=1,
        help="Seconds between two reports of this host to the table of services.",
    ),
    cfg.IntOpt(
        "service_down_time",
        default=60,
        min=2,
        help="A service counts as down this many seconds after its last report. Must be larger "
        "than report_interval.",
    ),
    cfg.BoolOpt("periodic_enable", default=True, help="Run the manager's periodic tasks."),
    cfg.IntOpt(
        "periodic_fuzzy_delay",
        default=60,
        min=0,
        help="The first run of each periodic task is delayed by a random time of up to this many "
        "seconds, so that hosts started together do not run it together. 0: no delay.",
    ),
    cfg.IntOpt(
        "periodic_interval_max",
        min=1,
        help="The longest time in seconds between two runs of a periodic task, whatever its "
        "spacing is. Unset: no limit.",
    ),
    cfg.IntOpt(
        "start_timeout",
        default=90,
        min=1,
        help="Seconds that a worker may take for one step of its start, including waits for "
        "the bus or the database.",
    ),
    cfg.IntOpt(
        "graceful_shutdown_timeout",
        default=180,
        min=0,
        help="Seconds that a stop waits for running calls before it kills the workers. 0: no "
        "limit.",
    ),
    cfg.IntOpt(
        "manager_shutdown_timeout",
        default=160,
        min=0,
        help="Seconds that the manager's graceful_shutdown may take, as a part of "
        "graceful_shutdown_timeout.",
    ),
    cfg.BoolOpt(
        "backdoor",
        default=False,
        help="For debugging only: open a Python console into each worker on the unix socket "
        "<runtime_path>/backdoor.<slot>, for root and the user of the service.",
    ),
]

DATABASE_OPTS = [
    cfg.StrOpt(
        "connection",
        secret=True,
        sample_default="sqlite:///<state_path>/launcher.sqlite",
        help="SQLAlchemy URL of the registry. A start makes the tables of a SQLite file; "
        "'db upgrade' makes those of a server.",
    ),
    cfg.BoolOpt(
        "use_conductor",
        default=False,
        help="This host has no database: a conductor-launcher on the same bus reads and writes "
        "the registry for it. connection must be unset, and transport_url set.",
    ),
]

HEALTH_OPTS = [
    cfg.FloatOpt(
        "beat_timeout",
        default=30,
        min=1,
        max=86400,
        help="A worker is late when its periodic loop has made no round for this many seconds.",
    ),
    cfg.FloatOpt(
        "probe_interval",
        default=30,
        min=1,
        max=86400,
        help="Seconds between two calls of a worker to itself through the bus.",
    ),
    cfg.FloatOpt(
        "probe_timeout",
        default=10,
        min=0.1,
        max=86400,
        help="Seconds that such a call may take.",
    ),
    cfg.FloatOpt(
        "wedged_after",
        default=120,
        mutable=True,
        min=1,
        max=86400,
        help="A worker is late when its calls to itself fail for this many seconds while all "
        "such calls of at least one other worker succeed. This is noticed at most two "
        "probe_intervals and one probe_timeout later. While the calls of all workers fail, the "
        "bus cannot be reached and no worker is late. Afterwards the workers reconnect at "
        "different times, so this must be longer than [oslo_messaging_rabbit] "
        "rabbit_interval_max times the number of hosts in transport_url.",
    ),
    cfg.StrOpt(
        "listen",
        regex=ADDRESS,
        help="Address and port of an HTTP server for the probes GET /livez, /startupz and "
        "/readyz, such as 0.0.0.0:8080. Any client that can connect gets an answer; nothing else "
        "is answered there. By default only the control socket answers.",
    ),
    cfg.StrOpt(
        "touch_file",
        help="A file whose time the master sets each second while it lives, as /livez says. For "
        "checks of a file's age, such as kolla's healthcheck_filemod. Must be in a directory that "
        "the service can write to.",
    ),
    cfg.StrOpt(
        "proof",
        default="called",
        choices=["called", "started"],
        help="With --program: when a worker serves. called: when each RPC server of the program "
        "has answered a call through RabbitMQ; a program without one cannot be run. started: a "
        "program without one serves when its services have started.",
    ),
    cfg.FloatOpt(
        "timer_warn_after",
        default=120,
        min=1,
        max=86400,
        help="With --program: STATUS names a timer of the program that has run for this many "
        "seconds, or has not begun this many seconds after it was due. It should be longer than "
        "the program's own timeouts, such as rpc_response_timeout.",
    ),
    cfg.FloatOpt(
        "timer_timeout",
        default=600,
        min=0,
        max=86400,
        help="With --program: a worker is late, and is replaced, when a timer of the program has "
        "run for this many seconds, or has not begun this many seconds after it was due. 0: a "
        "stuck timer is only named in STATUS.",
    ),
]

SUPERVISION_OPTS = [
    cfg.IntOpt(
        "restart_limit",
        default=5,
        mutable=True,
        min=0,
        help="How often one worker may die within restart_window seconds. If it dies more often "
        "before the service is ready, the start fails. For later deaths see serve_degraded.",
    ),
    cfg.FloatOpt(
        "restart_window", default=120, min=1, mutable=True, help="Seconds; see restart_limit."
    ),
    cfg.BoolOpt(
        "serve_degraded",
        default=True,
        mutable=True,
        help="For a service that was ready: a worker that has died more than restart_limit times "
        "pauses, and the other workers serve on. Its pauses grow from backoff_max to ten times "
        "that. The master gives up when every worker has reached its limit and none serves. "
        "False: it gives up with the first such worker. To give up means that systemd's watchdog "
        "acts, or without a watchdog exit status 3.",
    ),
    cfg.FloatOpt(
        "stable_after",
        default=30,
        mutable=True,
        min=0,
        help="If a worker dies after it has served for this many seconds, the death does not "
        "count towards restart_limit, and the worker is replaced at once.",
    ),
    cfg.FloatOpt(
        "backoff_max",
        default=30,
        mutable=True,
        min=0,
        help="The longest pause in seconds before a worker that keeps dying is started again.",
    ),
    cfg.BoolOpt(
        "surge",
        default=True,
        mutable=True,
        help="A reload first starts a worker in addition, so that there are never fewer workers "
        "than wanted. False: each worker leaves before its successor starts, for a program that "
        "may run once on a host only.",
    ),
    cfg.IntOpt(
        "spares",
        default=0,
        min=0,
        max=MOST_SPARES,
        help="How many workers to start in addition, which take no calls and wait. When a worker "
        "dies, one of them takes its slot at once, and another one is started in the background. "
        "Each costs the memory of a worker. They start when the service is ready, and have slots "
        "from 500 on. With --program, such a worker waits before the program's services start.",
    ),
    cfg.IntOpt(
        "workers_min",
        default=0,
        min=0,
        max=MOST_WORKERS,
        mutable=True,
        help="With workers_max: the number of workers follows the demand, and is never below this "
        "one. 0, in both: it does not.",
    ),
    cfg.IntOpt(
        "workers_max",
        default=0,
        min=0,
        max=MOST_WORKERS,
        mutable=True,
        help="With workers_min: the most workers. Once a minute the master looks how long the "
        "calls of that minute had waited before they were begun, and starts one worker more, or "
        "has one leave; never while an operation runs, in a pause, or while the service is "
        "degraded. The log and `history` give the figures of each step. `scale N` by an operator "
        "ends that, `scale auto` has it go on. The service begins with `workers`.",
    ),
    cfg.FloatOpt(
        "workers_wait",
        default=1,
        min=0.005,
        max=29,  # a wait of 30 s counts like any longer one
        mutable=True,
        help="Seconds. There are too few workers if more than 5 % of the calls of a minute had "
        "waited for longer. On RabbitMQ see launcher_call_wait_seconds in compute-launcher(7) for "
        "what is known of that.",
    ),
    cfg.FloatOpt(
        "workers_calm",
        default=600,
        min=60,
        max=86400,
        mutable=True,
        help="Seconds, in whole minutes. One worker leaves when for so long no minute had such "
        "calls, no call was left in a queue, and never more than half of the threads of the other "
        "workers would have been in use; and when it has no long call in hand, as with max_age.",
    ),
    cfg.BoolOpt(
        "warm_up",
        default=True,
        help="With --program: the master imports, before it forks, the modules that a worker had "
        "in the last start, so that their memory is shared and a start is short. Their list is in "
        "state_path. If there is none, the first worker starts alone, and the others follow.",
    ),
    cfg.BoolOpt(
        "core_dumps",
        default=False,
        help="Let an aborted process leave a core file, up to its hard limit (LimitCORE= of the "
        "unit). A core file contains all memory, with the passwords of the configuration. By "
        "default the soft limit is 1 byte, which prevents every core file; the log has the stacks "
        "of an aborted worker. Programs that a worker starts inherit the limit.",
    ),
    cfg.BoolOpt(
        "immortal_objects",
        default=True,
        help="On Python 3.12 to 3.14: make the objects that the master has before its first fork "
        "immortal, so that Python writes no reference counts into them and workers share their "
        "memory. Such objects are never freed, no weak reference to them ends, and no __del__ of "
        "what they hold is called. False: for a manager, a library or a foreign program that "
        "needs that of objects made when it is imported.",
    ),
    cfg.BoolOpt(
        "kill_children",
        default=True,
        mutable=True,
        help="When a worker dies or the service stops, end the processes that the worker has "
        "started: by SIGTERM, and by SIGKILL 3 s later. A process that has become a daemon lives "
        "until the service stops. False: they live on, unless systemd ends them.",
    ),
]

RECYCLE_OPTS = [
    cfg.FloatOpt(
        "max_age",
        default=0,
        min=0,
        mutable=True,
        help="Seconds that a worker serves before a fresh one replaces it. 0: no limit. One "
        "worker goes at a time, when another one serves in addition ([supervision] surge), and "
        "none while the service is degraded or another operation runs. A worker goes on while "
        "it has a call that has run for 5 seconds, which may outlast graceful_shutdown_timeout; "
        "if that is 0, while it has any call.",
    ),
    cfg.IntOpt(
        "max_calls",
        default=0,
        min=0,
        mutable=True,
        help="Calls that a worker answers before a fresh one replaces it, as with max_age. 0: no "
        "limit.",
    ),
    cfg.IntOpt(
        "max_memory",
        default=0,
        min=0,
        mutable=True,
        help="MiB of memory of its own (USS, as `status` shows it) at which a worker is replaced, "
        "as with max_age: a bound for a slow leak. Calls in hand finish, so the worker may grow "
        "for that time; MemoryMax= of the unit is the hard limit. A worker that is too large "
        "goes after 5 minutes whatever call it has, unless graceful_shutdown_timeout is 0. "
        "0: no limit.",
    ),
    cfg.FloatOpt(
        "jitter",
        default=0.2,
        min=0,
        max=1,
        mutable=True,
        help="The part of each of these limits by which a worker may go earlier, drawn for each "
        "worker, so that they do not reach a limit together. 0: none.",
    ),
]

CANARY_OPTS = [
    cfg.IntOpt(
        "min_calls",
        default=20,
        min=0,
        mutable=True,
        help="How many calls the canaries of `reload --canary` have to answer while they are "
        "watched, or else there are too few to judge. All options of this section are those in "
        "force before the reload.",
    ),
    cfg.StrOpt(
        "few_calls",
        default="go-back",
        choices=["go-back", "go-on"],
        mutable=True,
        help="What is done when there were too few calls to judge: the canaries get the old "
        "configuration again, or the other workers get the new one.",
    ),
    cfg.FloatOpt(
        "failure_rate",
        default=0.01,
        min=0,
        max=1,
        mutable=True,
        help="By how much the part of the canaries' calls that raise an error may be higher than "
        "that of the other workers: 0.01 is one call in a hundred.",
    ),
    cfg.FloatOpt(
        "latency_factor",
        default=1.5,
        min=1,
        mutable=True,
        help="How many times longer 95 % of the canaries' calls may take than those of the other "
        "workers. Times below 5 ms count as 5 ms. Not compared if the others had fewer than "
        "min_calls.",
    ),
    cfg.IntOpt(
        "failing_tasks",
        default=0,
        min=0,
        mutable=True,
        help="How many periodic tasks may fail in canaries that fail in no other worker. A canary "
        "that is late or dies fails in any case.",
    ),
]

PERIODIC_OPTS = [
    cfg.DictOpt(
        "spacing",
        default={},
        help="Seconds between two runs, by task: 'name:seconds, name:seconds'. Overrides the "
        "spacing in the manager. A negative number disables the task.",
    ),
]

RPC_OPTS = [
    cfg.IntOpt(
        "max_answer_size",
        default=16 * 1024 * 1024,
        min=64 * 1024,
        help="The largest answer or error in bytes that is sent to a client through RabbitMQ. "
        "For a larger one the client gets an error at once. Must not exceed the broker's "
        "max_message_size (by default 16 MiB from RabbitMQ 4.0 on): the broker drops larger "
        "messages. For the unix:// bus see [oslo_messaging_unix] max_message_size.",
    ),
    cfg.FloatOpt(
        "warn_after",
        default=0,
        min=0,
        help="Seconds after which the log tells of a call that is still in hand, once, with the "
        "stack of its thread. The call goes on. A method with @warn_after(seconds) has a limit of "
        "its own. 0: never.",
    ),
]

METRICS_OPTS = [
    cfg.StrOpt(
        "listen",
        regex=ADDRESS,
        help="Address and port of an HTTP server for GET /metrics, such as 127.0.0.1:9464 or "
        "[::1]:9464. Any client that can connect gets an answer. By default only the control "
        "socket answers.",
    ),
]

DEBUGGER_OPTS = [
    cfg.BoolOpt(
        "enabled",
        default=False,
        help="For debugging only: 'debug SLOT' opens a debugger in a worker, on the unix socket "
        "<runtime_path>/debugger.<slot>, for root and the user of the service. Needs debugpy, or "
        "Python 3.14.",
    ),
]

GROUPS: dict[str | None, Sequence[cfg.Opt]] = {
    None: DEFAULT_OPTS,
    "database": DATABASE_OPTS,
    "health": HEALTH_OPTS,
    "supervision": SUPERVISION_OPTS,
    "recycle": RECYCLE_OPTS,
    "canary": CANARY_OPTS,
    "periodic_tasks": PERIODIC_OPTS,
    "rpc": RPC_OPTS,
    "metrics": METRICS_OPTS,
    "debugger": DEBUGGER_OPTS,
}


def list_opts() -> list[tuple[str | None, Sequence[cfg.Opt]]]:
    """For the entry point `oslo.config.opts`, which the generated sample uses."""
    return list(GROUPS.items())

"""All errors that an operator or client may see, kept in one list, and the exit statuses.

The docstring of an error is its message. The constructor's keyword arguments fill it in.
`compute-launcher` prints it as one line on stderr, and exits with `exit_status` of the class.
"""

from enum import IntEnum
from typing import ClassVar, Self

from launcher.exception_text import one_line
from launcher.foreign_text import fit


class ExitStatus(IntEnum):
    """Exit statuses of the process; 69 to 78 are those of sysexits(3)."""

    STOPPED = 0  # stopped as asked
    INTERNAL = 1  # a bug of ours
    USAGE = 2  # the command line is wrong
    WORKERS_DYING = 3  # workers kept dying
    KILLED = 4  # stopped, but a worker had to be killed
    UNAVAILABLE = 69  # EX_UNAVAILABLE: bus or database not reachable in time, or disk full
    NOT_PERMITTED = 77  # EX_NOPERM: another user's service
    CONFIG = 78  # EX_CONFIG: the configuration must change; a restart does not help
    INTERRUPTED = 130  # a second Ctrl-C: 128 + SIGINT, as shells report it


class LauncherError(Exception):
    """internal error: {reason}"""

    exit_status: ExitStatus = ExitStatus.INTERNAL
    is_sentence: ClassVar[bool] = True  # for `exception_text.reason`

    def __init__(self, **facts: object) -> None:
        template = " ".join((type(self).__doc__ or "").split())
        told = {name: _plain(fact) for name, fact in facts.items()}
        super().__init__(fit(" ".join(template.format(**told).splitlines())))

    @classmethod
    def said(cls, sentence: str) -> Self:
        """An error of this class with the sentence that another process made of its facts."""
        error = cls.__new__(cls)
        Exception.__init__(error, fit(" ".join(sentence.splitlines())))
        return error


class ConfigError(LauncherError):
    """{problem}"""

    exit_status = ExitStatus.CONFIG


class OptionError(ConfigError):
    """option {option}: {problem}"""

    def __init__(self, *, option: str, problem: object) -> None:
        super().__init__(option=option, problem=problem)
        self.option = option
        self.problem = problem


class ConfigFileMissing(ConfigError):
    """configuration {kind} {path} does not exist; name one that does with --config-{option}"""


class DirectoryUnusable(ConfigError):
    """{option} = {path}: {reason}; make the directory writable for uid {uid} or set {option} to
    another one"""


class DirectoryFull(LauncherError):
    """{option} = {path}: {reason}; make room there, or set {option} to another directory"""

    exit_status = ExitStatus.UNAVAILABLE


class NoTaskLeft(LauncherError):
    """{what}: the kernel gives no further thread or process; raise what limits them: TasksMax= of
    the unit, pids.max of the container, or the user's processes (ulimit -u)"""

    exit_status = ExitStatus.UNAVAILABLE


class AlreadyRunning(ConfigError):
    """{runtime_path} is in use by {binary} with pid {pid}; stop that one first or set another
    runtime_path"""


class DirectoryExposed(ConfigError):
    """{option} = {path}: {reason}; make the directory and its parents belong to uid {uid} or root
    and writable by no other user (chmod go-w; for a parent that is shared, chmod +t), or set
    {option} to another one"""


class DirectoryLost(LauncherError):
    """runtime_path = {runtime_path} was removed or replaced under the running service; it stops,
    because a second one could start beside it"""


class BusLost(LauncherError):
    """the bus directory {path} was removed or replaced under the running service; it stops, since
    no call can reach it any more"""


class ManagerNotFound(ConfigError):
    """no manager {name!r}: {reason}; tried {tried}"""


class ManagerUnfit(ConfigError):
    """manager {name!r} cannot be used: {fault}"""


class ProgramNotFound(ConfigError):
    """no program {name!r}: {reason}"""


class ProgramUnfit(ConfigError):
    """program {name} cannot be run: {fault}"""


class EventletNeeded(ProgramUnfit):
    """program {name} cannot be run without eventlet: {fault}"""


class ProgramEnded(ConfigError):
    """program {name} {ending} before it started a service{hint}"""


class ProgramFailed(LauncherError):
    """program {name} {ending} before it started a service{hint}"""


class PrivateNameGone(ConfigError):
    """{library} {version} has no {name}, on which --program stands; install a version that this
    launcher was tried with, or a newer launcher"""


class SourceWrong(ConfigError):
    """{path}:{line}: {reason}"""


class ConfigSourceUnavailable(LauncherError):
    """a source of the configuration is missing: {problem} (option config_source); without it each
    of its options would have its default"""

    exit_status = ExitStatus.UNAVAILABLE


class DatabaseUnavailable(LauncherError):
    """database {url} cannot be reached: {reason}"""

    exit_status = ExitStatus.UNAVAILABLE


class DatabaseUnusable(ConfigError):
    """database {url} cannot be used: {reason}"""


class ConductorUnavailable(DatabaseUnavailable):
    """no conductor answers on bus {url}: {reason}"""


class ConductorTooOld(ConfigError):
    """the conductor {which} does not take calls of version {ours}, which this host makes; upgrade
    every conductor-launcher before the hosts that use it"""


class BusUnavailable(LauncherError):
    """bus {url} cannot be reached: {reason}"""

    exit_status = ExitStatus.UNAVAILABLE


class BusBlocked(LauncherError):
    """bus {url} takes no calls: the broker blocks publishers (memory or disk alarm: {reason})"""

    exit_status = ExitStatus.UNAVAILABLE


class QueueUnfit(ConfigError):
    """queue {queue} exists with other properties than [oslo_messaging_rabbit] gives it: {reason};
    delete it while no service uses it, or set the options as they were"""


class ExchangeUnfit(ConfigError):
    """exchange {exchange} exists {otherwise}; delete it while no service uses it, or set the
    options of queues in [oslo_messaging_rabbit] as they were"""


class TransientQueuesDenied(ConfigError):
    """the broker denies transient queues ({feature} is not permitted there); set
    rabbit_quorum_queue = true and rabbit_transient_quorum_queue = true in
    [oslo_messaging_rabbit], here and for all clients"""


class NoAnswer(LauncherError):
    """no answer to {method} from {target} within {timeout:g} s; {hint}"""

    exit_status = ExitStatus.UNAVAILABLE

    def __init__(self, *, hint: str = "is the service running?", **facts: object) -> None:
        super().__init__(hint=hint, **facts)
        self._facts = facts

    def explained(self, hint: str) -> "NoAnswer":
        """A copy with a reason in place of the question."""
        return type(self)(hint=hint, **self._facts)


class NobodyListens(NoAnswer):
    """nobody listens on {target}; {hint}"""


class ProbeFailed(LauncherError):
    """no round trip to {target} through the bus: {reason}"""

    exit_status = ExitStatus.UNAVAILABLE


class RemoteFailure(LauncherError):
    """{method} failed on {target}: {reason}"""


class WorkerGaveUp(LauncherError):
    """{reason}"""

    def __init__(self, exit_status: ExitStatus, **facts: object) -> None:
        super().__init__(**facts)
        self.exit_status = exit_status


class WorkersKeptDying(LauncherError):
    """{binary} gave up: {reason}"""

    exit_status = ExitStatus.WORKERS_DYING


class ServiceNotFound(LauncherError):
    """no service {binary} on host {host}; 'services list' shows all services"""


class ServiceReports(LauncherError):
    """{binary} on host {host} is {state}: it reported {age} s ago; stop it first, or use
    --force, after which it registers again"""


class ServiceTooOld(ConfigError):
    """{binary} on host {host} has service version {ours}, and {other} works with {needed} or newer
    only; upgrade this host, or delete that service if it is gone"""


class UsageError(LauncherError):
    """{problem}"""

    exit_status = ExitStatus.USAGE


class OtherHost(LauncherError):
    """the {binary} of this machine serves host {host}, not {meant}; run the command on the machine
    of that host, or without --host"""

    exit_status = ExitStatus.USAGE


class OutputLost(LauncherError):
    """the answer cannot be written to standard output: {reason}"""


class NotRunning(LauncherError):
    """no {binary} answers at {path}: {reason}; is it running, with this runtime_path?"""

    exit_status = ExitStatus.UNAVAILABLE


class NotAnswering(LauncherError):
    """{binary} at {path} does not answer: {reason}; its process exists, and may be stopped, short
    of CPU time, or about to end"""

    exit_status = ExitStatus.UNAVAILABLE


class NotPermitted(LauncherError):
    """{binary} at {path} answers root and its own user, not uid {uid}"""

    exit_status = ExitStatus.NOT_PERMITTED


class RootRestricted(LauncherError):
    """{binary} at {path} cannot be reached by root here ({reason}): root lacks CAP_DAC_OVERRIDE;
    run this as the user of the service"""

    exit_status = ExitStatus.NOT_PERMITTED


class PlaceUntrusted(LauncherError):
    """{path} is not used: {reason}; run this as the user of the service, or correct the owner"""

    exit_status = ExitStatus.NOT_PERMITTED


class OwnerUnreachable(LauncherError):
    """{path} belongs to {owner}, who may not search {blocked}, and root may not mount it
    elsewhere ({reason}); run this where root may mount, or while the service runs"""

    exit_status = ExitStatus.NOT_PERMITTED


class MasterUntrusted(LauncherError):
    """{path} is not used: {reason}; run this as the user of the service, or correct the owner"""

    exit_status = ExitStatus.NOT_PERMITTED


class ReloadFailed(LauncherError):
    """reload failed, {reason}"""


class CanaryFailed(LauncherError):
    """the canary has failed: {verdict}"""


class CanaryRuns(LauncherError):
    """{activity}; ask again then"""


class UpgradeFailed(LauncherError):
    """upgrade failed, {reason}"""


class SuccessorFailed(LauncherError):
    """the service goes on as it was, because the new master did not take over: {reason}"""

    def __init__(self, *, reason: object) -> None:
        super().__init__(reason=reason)
        self.reason = reason


class SuccessorLost(LauncherError):
    """the new master pid {pid} was in charge already, and failed: {reason}; the service ends"""


class NotUpgradable(LauncherError):
    """this service cannot be upgraded while it runs: {reason}; restart it instead"""


class NotUpgradableNow(LauncherError):
    """no upgrade now: {reason}"""


class UpgradeRuns(LauncherError):
    """an upgrade is going on; try again when it is over"""


class ServiceUpgraded(LauncherError):
    """the service was upgraded meanwhile, and nothing else was done; ask it again"""


class PredecessorGone(LauncherError):
    """the master that is to be replaced ended, or hung, before this one was in charge"""


class NotReloaded(WorkerGaveUp):
    """the old configuration stays in force: {reason}"""


class PartlyReloaded(WorkerGaveUp):
    """the old configuration stays in force, but {workers} kept the new one: {reason};
    mend it, or put the old one back, and reload once more"""


class NotScaled(LauncherError):
    """the new configuration is in force, but not its number of workers, {workers}: {reason}"""


class ConfigurationChanged(ConfigError):
    """its files were changed again while workers were replaced; reload once more"""


class ReplacementFailed(LauncherError):
    """{worker} does not become ready: {reason}"""


class ServiceStopping(LauncherError):
    """the service stops"""


class WrongNumber(LauncherError):
    """{what} {value!r} is not {wanted}"""

    exit_status = ExitStatus.USAGE


class NotPaused(LauncherError):
    """no answer of worker {workers} within {seconds:g} s; it obeys as soon as it can, and 'status'
    shows it"""


class NotPausable(ConfigError):
    """a pause would lose calls: RabbitMQ deletes a queue that no worker reads, since
    [oslo_messaging_rabbit] amqp_auto_delete is set; unset it, and restart the service"""


class DebuggerOff(ConfigError):
    """the debugger is switched off: whoever may use it can do anything; set
    [debugger] enabled = true, and reload"""


class DebuggerMissing(ConfigError):
    """there is no debugpy: install compute-launcher[debug], or let pdb of Python 3.14 attach"""


class DebuggerFailed(LauncherError):
    """worker {worker} has no debugger: {reason}"""


class PauseUnreadable(ConfigError):
    """{path}, which says what is paused, cannot be read: {reason}; remove it, and pause again if
    need be"""


class PauseUnwritable(LauncherError):
    """{path}, which says what is paused, cannot be written: {reason}"""


class PauseKept(LauncherError):
    """resumed, but paused again after a restart: {reason}"""


class HistoryUnreadable(LauncherError):
    """the history in {path} cannot be read: {reason}"""


class NoReport(LauncherError):
    """worker {number} has written no report within {seconds:g} s; it may be stopped or may hang"""


class CommandFailed(LauncherError):
    """{command} failed: {reason}"""


def _plain(fact: object) -> object:
    """Turns an exception into text: its own __str__ may raise."""
    return one_line(fact) if isinstance(fact, BaseException) else fact

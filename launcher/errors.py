"""Errors that an operator may meet, each with its sentence, and the exit statuses.

The docstring of an error is its message: it is filled in with the keyword
arguments of the constructor, and `compute-launcher` prints it as one line on
stderr and exits with the class's `exit_status`.
"""

from enum import IntEnum


class ExitStatus(IntEnum):
    """Statuses of the process; the numbers above 63 are those of sysexits(3)."""

    STOPPED = 0  # stopped as asked
    INTERNAL = 1  # a bug of ours
    USAGE = 2  # the command line is wrong
    WORKERS_DYING = 3  # workers kept dying
    KILLED = 4  # stopped, but a worker had to be killed
    UNAVAILABLE = 69  # EX_UNAVAILABLE: bus or database not reachable in time, or no room on a disk
    NOT_PERMITTED = 77  # EX_NOPERM: another user's service
    CONFIG = 78  # EX_CONFIG: no restart will mend it, the configuration has to change
    INTERRUPTED = 130  # a second Ctrl-C: 128 + SIGINT, as shells report it


class LauncherError(Exception):
    """internal error: {reason}"""

    exit_status: ExitStatus = ExitStatus.INTERNAL

    def __init__(self, **facts: object) -> None:
        template = " ".join((type(self).__doc__ or "").split())
        super().__init__(" ".join(template.format(**facts).splitlines()))


class ConfigError(LauncherError):
    """{problem}"""

    exit_status = ExitStatus.CONFIG


class OptionError(ConfigError):
    """option {option}: {problem}"""

    def __init__(self, *, option: str, problem: object) -> None:
        super().__init__(option=option, problem=problem)
        self.option = option
        self.problem = problem


class DirectoryUnusable(ConfigError):
    """{option} = {path}: {reason}; make the directory writable for uid {uid} or set {option} to
    another one"""


class DirectoryFull(LauncherError):
    """{option} = {path}: {reason}; make room there, or set {option} to another directory"""

    exit_status = ExitStatus.UNAVAILABLE


class AlreadyRunning(ConfigError):
    """{runtime_path} is in use by {binary} with pid {pid}; stop that one first or set another
    runtime_path"""


class DirectoryExposed(ConfigError):
    """{option} = {path}: {reason}, who could plant files there; have it owned by uid {uid} and
    writable by nobody else (chmod go-w), or set {option} to another one"""


class DirectoryLost(LauncherError):
    """runtime_path = {runtime_path} was removed or replaced under the running service; it stops,
    since nothing keeps another one from starting beside it"""


class BusLost(LauncherError):
    """the bus directory {path} was removed or replaced under the running service; it stops, since
    no call can reach it any more"""


class ManagerNotFound(ConfigError):
    """no manager {name!r}: {reason}; tried {tried}"""


class DatabaseUnavailable(LauncherError):
    """database {url} cannot be reached: {reason}"""

    exit_status = ExitStatus.UNAVAILABLE


class DatabaseUnusable(ConfigError):
    """database {url} cannot be used: {reason}"""


class BusUnavailable(LauncherError):
    """bus {url} cannot be reached: {reason}"""

    exit_status = ExitStatus.UNAVAILABLE


class NoAnswer(LauncherError):
    """no answer to {method} from {target} within {timeout:g} s; is the service running?"""

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
    """no service {binary} on host {host}; 'services list' shows what there is"""


class UsageError(LauncherError):
    """{problem}"""

    exit_status = ExitStatus.USAGE


class OutputLost(LauncherError):
    """the answer cannot be written to standard output: {reason}"""


class NotRunning(LauncherError):
    """no {binary} answers at {path}: {reason}; is it running, with this runtime_path?"""

    exit_status = ExitStatus.UNAVAILABLE


class NotPermitted(LauncherError):
    """{binary} at {path} may be asked by root and its own user, and not by uid {uid}"""

    exit_status = ExitStatus.NOT_PERMITTED


class ReloadFailed(LauncherError):
    """reload failed, {reason}"""


class NotReloaded(WorkerGaveUp):
    """the old configuration stays in force: {reason}"""


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


class CommandFailed(LauncherError):
    """{command} failed: {reason}"""


def one_line(error: BaseException) -> str:
    """An exception's text as a part of one sentence."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__

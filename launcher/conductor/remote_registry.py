"""The registry as a host without a database has it: every call goes to a conductor."""

import functools
import inspect
import math
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import oslo_messaging
from oslo_utils import versionutils

from launcher.conductor.encoding import (
    FIRST_VERSION,
    TOPIC,
    VERSION,
    decode,
    encode,
    hints,
    received,
)
from launcher.config.masking import mask_url
from launcher.deadline import within
from launcher.errors import (
    ConductorTooOld,
    ConductorUnavailable,
    DatabaseUnavailable,
    LauncherError,
    RemoteFailure,
)
from launcher.exception_text import one_line, reason
from launcher.registry.interface import Registry
from launcher.registry.outage import Outage

ANSWER_SECONDS = 15.0  # more than a conductor waits for a silent database; three fit into a report
SEND_SECONDS = 1.0  # to send a call; the driver counts the rest from then on
MOST_UNANSWERED = 8  # calls of this process that hang in the driver
UNREACHED = " cannot be reached: "  # in the sentence of DatabaseUnavailable
_DRIVERS = frozenset({"amqp", "kombu"})  # whose errors oslo.messaging may let through
_UNKNOWN = frozenset({"NoSuchMethod", "UnsupportedVersion"})  # how a conductor refuses a version
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def asked(
    method: Callable[Concatenate[Any, _Given], _Result],
) -> Callable[Concatenate[Any, _Given], _Result]:
    """This method of the registry, asked of a conductor. Sends only arguments that are given."""
    signature = inspect.signature(method)

    @functools.wraps(method)
    def ask(self: "RemoteRegistry", *args: Any, **kwargs: Any) -> Any:
        _, *given = signature.bind(self, *args, **kwargs).arguments.items()
        arguments = {name: encode(value) for name, value in given}
        found = self._call(method.__name__, arguments)
        return decode(hints(method)["return"], found, f"the answer to {method.__name__}")

    made: Any = ask
    return cast(Callable[Concatenate[Any, _Given], _Result], made)


class RemoteRegistry:
    """Implements launcher.registry.interface.Registry, which describes the methods. Made in a
    worker, after the fork, or in a command; safe for many threads.

    Every method may also raise ConductorUnavailable, which is a DatabaseUnavailable, and
    ConductorTooOld.
    """

    def __init__(
        self,
        transport: Any,
        url: str,
        *,
        timeout: float = ANSWER_SECONDS,
        why: Callable[[], LauncherError | None] = lambda: None,
        outage: Outage | None = None,
        version: str = VERSION,
    ) -> None:
        """
        :param url: transport_url; it is masked.
        :param timeout: seconds that a call may take.
        :param outage: says when the registry is away; a command says it.
        :param version: of the calls.
        :param why: returns why the bus does not work, if it knows.
        """
        self._url = mask_url(url)
        self._timeout = timeout
        self._why = why
        self._outage = outage
        self._version = version
        target = oslo_messaging.Target(topic=TOPIC)
        # One retry: a connection of RabbitMQ may have been cut while it was idle.
        self._client = oslo_messaging.get_rpc_client(transport, target, timeout=timeout, retry=1)
        self._unanswered = threading.BoundedSemaphore(MOST_UNANSWERED)

    def check(self, timeout: float = ANSWER_SECONDS) -> str:
        """Ask a conductor for its version. Returns the name of its host.

        :param timeout: seconds; shorter than that of other calls has a wait shown early.
        :raises ConductorUnavailable: none answers.
        :raises ConductorTooOld: it does not take the calls of this version.
        """
        answer = self._call("get_version", {}, version=FIRST_VERSION, timeout=timeout)
        found: dict[str, str] = decode(dict[str, str], answer, "the conductor's version")
        theirs, host = str(found.get("version")), found.get("host")
        if not versionutils.is_compatible(self._version, theirs):
            raise ConductorTooOld(which=f"on {host} (version {theirs})", ours=self._version)
        return str(host)

    get_service = asked(Registry.get_service)
    list_services = asked(Registry.list_services)
    register_service = asked(Registry.register_service)
    report_service = asked(Registry.report_service)
    set_service_disabled = asked(Registry.set_service_disabled)
    set_service_forced_down = asked(Registry.set_service_forced_down)
    delete_service = asked(Registry.delete_service)
    newest_version = asked(Registry.newest_version)
    oldest_versions = asked(Registry.oldest_versions)
    save_compute_node = asked(Registry.save_compute_node)
    list_compute_nodes = asked(Registry.list_compute_nodes)

    def map_services(
        self,
        columns: Sequence[str],
        make: Callable[[Any], _Result],
        host: str | None = None,
        binary: str | None = None,
    ) -> list[_Result]:
        """A conductor sends all rows in one answer."""
        return [make(service) for service in self.list_services(host, binary)]

    def descriptors(self) -> list[int]:
        """None of its own: the transport is the worker's."""
        return []

    def close(self) -> None:
        """Nothing to close: the transport is the worker's, and serves it to the end."""

    def _call(
        self,
        method: str,
        arguments: dict[str, Any],
        *,
        version: str = "",
        timeout: float = math.inf,
    ) -> Any:
        """Call a conductor, and note whether the registry is away."""
        seconds, begun = min(timeout, self._timeout), time.monotonic()
        call = self._client.prepare(version=version or self._version, timeout=seconds).call
        try:
            found = self._within(seconds, method, partial(call, {}, method, **arguments))
        except LauncherError as error:
            failure = error
        else:
            if self._outage:
                self._outage.is_over("through a conductor", begun)
            return found
        if self._outage and isinstance(failure, DatabaseUnavailable):
            self._outage.goes_on(str(failure), self._short(failure), begun)
        raise failure

    def _within(self, seconds: float, method: str, call: Callable[[], Any]) -> Any:
        """Call within the timeout, which the driver does not keep while the broker is away. A call
        that hangs in the driver keeps a thread, so there are only a few of them."""
        if not self._unanswered.acquire(blocking=False):
            raise self._absent(f"{MOST_UNANSWERED} calls before this one still hang")
        late = partial(self._absent, f"no answer within {seconds:.2g} s")
        try:
            return within(seconds + SEND_SECONDS, partial(self._release_after, call), late)
        except LauncherError:
            raise
        except oslo_messaging.RemoteError as error:
            raise self._told(method, error) from error
        except oslo_messaging.MessagingTimeout as error:
            raise late() from error
        except (oslo_messaging.MessagingException, oslo_messaging.MessageUndeliverable) as error:
            raise self._absent(mask_url(one_line(error))) from error
        except Exception as error:  # a conductor's method may raise any of Python's own
            why = mask_url(reason(error))
            if type(error).__module__.partition(".")[0] in _DRIVERS:
                raise self._absent(why) from error
            raise self._failure(method, why) from error

    def _release_after(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        finally:
            self._unanswered.release()

    def _absent(self, what: str) -> LauncherError:
        trouble = self._why()
        why = str(trouble) if trouble else f"{what}; does a conductor-launcher run on this bus?"
        return ConductorUnavailable(url=self._url, reason=why)

    def _short(self, error: DatabaseUnavailable) -> str:
        """The reason, for STATUS."""
        if isinstance(error, ConductorUnavailable):
            return str(self._why() or "no conductor answers")
        return str(error).partition(UNREACHED)[2] or str(error)

    def _told(self, method: str, error: oslo_messaging.RemoteError) -> LauncherError:
        """Our error for one that a conductor raised."""
        if error.exc_type in _UNKNOWN:
            which = f"(it has no {method} of that version)"
            return ConductorTooOld(which=which, ours=self._version)
        told = received(str(error.exc_type), str(error.value))
        return told or self._failure(method, f"{error.exc_type}: {error.value}")

    @staticmethod
    def _failure(method: str, why: str) -> LauncherError:
        return RemoteFailure(method=method, target=TOPIC, reason=why)

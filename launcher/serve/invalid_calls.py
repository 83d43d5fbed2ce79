"""Refuses invalid calls: of a method that no endpoint has, or with arguments that do not fit.

Any client on the bus can send them, as often as it likes. So each costs one log line without a
traceback, and its error names the methods or arguments there are. Threads of the server's pool.
"""

import inspect
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NoReturn

import oslo_messaging
from oslo_messaging.rpc.dispatcher import ExpectedException

from launcher.exception_text import one_line
from launcher.foreign_text import fit
from launcher.serve.rpc import MOST_FOUND, MethodFinder, is_for

LOG = logging.getLogger(__name__)

SHOWN_CHARACTERS = 100  # of a name from a client
_EITHER = inspect.Parameter.POSITIONAL_OR_KEYWORD
_POSITIONAL = {inspect.Parameter.POSITIONAL_ONLY, _EITHER}
_BY_NAME = {_EITHER, inspect.Parameter.KEYWORD_ONLY}


class Dispatcher:
    """oslo.messaging's dispatcher. For an invalid call it raises ExpectedException, which
    oslo.messaging sends to the client and does not log.

    It calls the method itself, unless the client wants signs of life: oslo.messaging's dispatcher
    makes a thread and an event for each call.
    """

    def __init__(self, inner: Any, endpoints: Iterable[Any]) -> None:
        self._inner = inner
        self._endpoints = list(endpoints)
        self._find = MethodFinder(self._endpoints)
        self._known: dict[object, tuple[Any, Parameters]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def dispatch(self, incoming: Any) -> Any:
        """Call the method and return its answer."""
        message = incoming.message
        if (method := self._find(message)) is not None:
            endpoint, known = self._parameters(method, message)
            fit = known.fit(message.get("args"))
            if not fit and (problem := argument_problem(message, known.signature)):
                _refuse(incoming, TypeError(problem))
            if endpoint is None or incoming.client_timeout:
                return self._inner.dispatch(incoming)
            return self._call(endpoint, incoming)
        try:
            return self._inner.dispatch(incoming)  # it has a method of its own: rpc_ping_enabled
        except (
            oslo_messaging.NoSuchMethod,
            oslo_messaging.UnsupportedVersion,
            AttributeError,
            TypeError,
            ValueError,
        ):
            _refuse(incoming, unknown_method(self._endpoints, message))

    def _call(self, endpoint: Any, incoming: Any) -> Any:
        message, serializer = incoming.message, self._inner.serializer
        context = serializer.deserialize_context(incoming.ctxt)
        arguments = {
            name: serializer.deserialize_entity(context, value)
            for name, value in message.get("args", {}).items()
        }
        answer = getattr(endpoint, message["method"])(context, **arguments)
        return serializer.serialize_entity(context, answer)

    def _parameters(self, method: object, message: Mapping[str, Any]) -> "tuple[Any, Parameters]":
        """The endpoint of a method, and its parameters, which are looked at once."""
        key = (method, message.get("namespace"), message.get("version", "1.0"))
        try:
            return self._known[key]
        except (KeyError, TypeError):  # a callable object may have no hash
            pass
        endpoint, bound = _bound(self._endpoints, message, method)
        found = endpoint, Parameters(bound)
        with suppress(TypeError):
            if len(self._known) < MOST_FOUND:  # a client may invent versions
                self._known[key] = found
        return found


class Parameters:
    """The parameters of a method that clients call.

    :ivar signature: None: it has none (C code, odd decorators). The call itself will fail if the
        arguments are wrong.
    """

    def __init__(self, bound: Any) -> None:
        self.signature: inspect.Signature | None = None
        with suppress(TypeError, ValueError):
            self.signature = inspect.signature(bound, follow_wrapped=False)
        found = list(self.signature.parameters.values()) if self.signature else []
        context, named = found[:1], found[1:]
        self._simple = bool(context) and context[0].kind in _POSITIONAL
        self._simple &= all(one.kind in _BY_NAME for one in named)
        self._all = {one.name for one in named}
        self._required = {one.name for one in named if one.default is one.empty}

    def fit(self, given: object) -> bool:
        """Whether the arguments fit, at a quick look. If not, `argument_problem` decides."""
        if not self._simple or not isinstance(given, dict):
            return False
        return self._required <= given.keys() <= self._all


def unknown_method(endpoints: Iterable[Any], message: Mapping[str, Any]) -> Exception:
    """Make the error for a call of a method that no endpoint has."""
    names = ", ".join(sorted(set(exposed_names(endpoints)))) or "none"
    called, version = _name_of(message), _shown(message.get("version", "1.0"))
    error: Exception = oslo_messaging.NoSuchMethod(called)
    error.args = (f"no method {called} of version {version} can be called; there are: {names}",)
    return error


def argument_problem(message: Mapping[str, Any], signature: inspect.Signature | None) -> str:
    """Say why the arguments do not fit the called method; nothing if they fit.

    :param signature: of the outermost decorator: it may add arguments or take some away. None:
        unknown.
    """
    arguments = message.get("args", {})
    if not isinstance(arguments, Mapping) or not all(isinstance(one, str) for one in arguments):
        return f"the arguments of {_name_of(message)} are not given by name"
    if signature is None:
        return ""
    try:
        signature.bind(None, **arguments)
    except TypeError as error:
        found = one_line(error)
        return f"{_name_of(message)}: {found}; its arguments are: {_arguments_of(signature)}"
    return ""


def has_invalid_timeout(message: Any) -> bool:
    """Whether a client asks for heartbeats (call_monitor_timeout) with a timeout that is no finite
    number: oslo.messaging's heartbeat thread would die of it."""
    timeout = getattr(message, "client_timeout", None)
    fits = isinstance(timeout, int | float) and math.isfinite(timeout)
    return bool(timeout) and not fits


def exposed_names(endpoints: Iterable[Any]) -> Iterator[str]:
    """The names of all methods that a client can call, with their namespaces. Runs no code of an
    endpoint."""
    for endpoint in endpoints:
        untracked = getattr(endpoint, "untracked", endpoint)
        namespace = getattr(endpoint.target, "namespace", None)
        for name in dir(untracked):
            method = inspect.getattr_static(untracked, name, None)
            if getattr(method, "exposed", False):
                yield f"{namespace}.{name}" if namespace else name


def _bound(endpoints: Iterable[Any], message: Mapping[str, Any], found: object) -> tuple[Any, Any]:
    """The endpoint of a method, or None, and the method as it will be called, bound to it."""
    name = message["method"]
    for endpoint in endpoints:
        untracked = getattr(endpoint, "untracked", endpoint)
        mine = inspect.getattr_static(untracked, name, None) is found
        if mine and is_for(endpoint.target, message):
            return endpoint, getattr(untracked, name)
    return None, found


def _name_of(message: Mapping[str, Any]) -> str:
    namespace, method = message.get("namespace"), message.get("method")
    return f"{_shown(namespace)}.{_shown(method)}" if namespace else _shown(method)


def _shown(value: object) -> str:
    return fit(value if isinstance(value, str) else repr(value), SHOWN_CHARACTERS)


def _arguments_of(signature: inspect.Signature) -> str:
    arguments = [*signature.parameters.values()][1:]  # the first one is the context
    return ", ".join(map(str, arguments)) or "none"


def _refuse(incoming: Any, error: Exception) -> NoReturn:
    request = incoming.ctxt.get("request_id") or incoming.msg_id
    LOG.info("a call (%s) is refused: %s", request, error)
    try:
        raise error
    except type(error):  # ExpectedException takes it from sys.exc_info()
        raise ExpectedException from None

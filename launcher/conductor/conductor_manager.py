"""The manager of `conductor-launcher`: serves the registry to hosts without a database.

Any conductor may answer any call: it keeps nothing between two calls.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import oslo_messaging

from launcher.conductor.encoding import VERSION, decode, encode, hints, sendable
from launcher.errors import LauncherError
from launcher.registry.interface import Registry
from launcher.serve.manager import Manager, expected_exceptions, expose, idempotent


def served(method: Callable[..., Any]) -> Any:
    """A method for clients that calls this one of the store, with arguments and result as
    `encoding` has them. The client gets the store's errors, and the log no traceback of them."""
    name, signature = method.__name__, inspect.signature(method)
    (own, *others) = signature.parameters.values()
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)

    @functools.wraps(method)
    def serve(self: "ConductorManager", context: object, /, *args: Any, **kwargs: Any) -> Any:
        given = signature.bind(self, *args, **kwargs).arguments
        del given[own.name]
        try:
            values = {key: decode(hints(method)[key], given[key], key) for key in given}
            return encode(getattr(self.registry, name)(**values))
        except LauncherError as error:
            raise sendable(error) from error

    shown: Any = serve
    shown.__signature__ = signature.replace(parameters=[own, context, *others])
    return expose(expected_exceptions(LauncherError)(shown))


class ConductorManager(Manager):
    """The registry over RPC. `registry.interface` describes the methods."""

    target: ClassVar[oslo_messaging.Target] = oslo_messaging.Target(version=VERSION)
    needs_database = True

    @expose
    @idempotent
    def get_version(self, context: Any) -> dict[str, str]:
        """The version of the calls that this conductor takes, and its host. Part of every version:
        a host asks this first."""
        return {"version": VERSION, "host": self.host}

    get_service = idempotent(served(Registry.get_service))
    list_services = idempotent(served(Registry.list_services))
    register_service = idempotent(served(Registry.register_service))
    report_service = idempotent(served(Registry.report_service))
    set_service_disabled = idempotent(served(Registry.set_service_disabled))
    set_service_forced_down = idempotent(served(Registry.set_service_forced_down))
    delete_service = served(Registry.delete_service)  # it may have registered anew meanwhile
    newest_version = idempotent(served(Registry.newest_version))
    oldest_versions = idempotent(served(Registry.oldest_versions))
    save_compute_node = idempotent(served(Registry.save_compute_node))
    list_compute_nodes = idempotent(served(Registry.list_compute_nodes))

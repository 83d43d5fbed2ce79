"""All private names of oslo.service, oslo.messaging and oslo.log on which programs stand.

Those of their timers are in `timer_seam`, of futurist's threads in `idle_threads`; what
`launcher.rabbit` uses of the AMQP driver is beside this. `check` says at the start which name is
gone.
"""

import glob
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial, wraps
from importlib import metadata
from types import ModuleType
from typing import Any, Protocol

from launcher.errors import PrivateNameGone
from launcher.program import idle_threads, timer_seam
from launcher.program.library_names import Name
from launcher.program.recording import Recording

LAUNCHERS = ("Launcher", "ServiceLauncher", "ProcessLauncher")

NAMES = (
    Name("oslo.service", "oslo_service.backend", "_cached_components"),
    Name("oslo.service", "oslo_service.backend", "get_component"),
    Name("oslo.service", "oslo_service.opts", "register_service_opts"),
    *(Name("oslo.service", "oslo_service.service", name) for name in ("launch", *LAUNCHERS)),
    Name("cotyledon", "cotyledon", "ServiceManager.run"),
    Name("oslo.config", "oslo_config.cfg", "ConfigOpts._get"),
    Name("oslo.config", "oslo_config.cfg", "ConfigParser.parse"),
    Name("oslo.config", "oslo_config.cfg", "glob.glob"),
    Name("oslo.config", "oslo_config.cfg", "os.path.exists"),
    Name("oslo.messaging", "oslo_messaging.rpc.server", "RPCServer._create_listener"),
    Name("oslo.messaging", "oslo_messaging.rpc.server", "RPCServer._process_incoming"),
    Name("oslo.messaging", "oslo_messaging.rpc.dispatcher", "RPCDispatcher.dispatch"),
    Name("oslo.messaging", "oslo_messaging.rpc.dispatcher", "ExpectedException"),
    Name("oslo.messaging", "oslo_messaging._drivers.amqpdriver", "AMQPDriverBase"),
    Name("oslo.messaging", "oslo_messaging._drivers.impl_rabbit", "Connection.ensure_connection"),
    Name("oslo.messaging", "oslo_messaging._drivers.impl_rabbit", "rabbit_opts"),
    Name("oslo.log", "oslo_log.handlers", "_get_binary_name"),
)


def check() -> None:
    """Called in the master, when the program is imported: oslo.messaging must not come first. The
    command line is the program's: the driver for RabbitMQ has defaults of options from it.

    :raises PrivateNameGone: of the first name that the installed version does not have.
    """
    for name in (*NAMES, *idle_threads.NAMES, *timer_seam.NAMES):
        if not name.is_there():
            raise PrivateNameGone(
                library=name.library,
                version=metadata.version(name.library),
                name=f"{name.module}.{name.path}",
            )


def record(recording: Recording) -> None:
    """Put stand-ins into oslo.service, for good. Called in the master, before the program's module
    is imported: it may keep the names."""
    from oslo_service import backend, service  # noqa: PLC0415  # after eventlet is hidden

    stand_ins: dict[str, Any] = dict.fromkeys(LAUNCHERS, recording.launcher)
    stand_ins |= {"launch": recording.launch, "Launcher": recording.thread_launcher}
    backend.get_component("launch")  # makes the cache
    if not isinstance(backend._cached_components, dict):
        version = metadata.version("oslo.service")
        name = "oslo_service.backend._cached_components"
        raise PrivateNameGone(library="oslo.service", version=version, name=name)
    backend._cached_components.update(stand_ins)
    for name, stand_in in stand_ins.items():
        setattr(service, name, stand_in)


@contextmanager
def recorded_manager(recording: Recording) -> Iterator[None]:
    """Put a stand-in into cotyledon, for a time: our master needs the real manager."""
    import cotyledon  # noqa: PLC0415  # after eventlet is hidden

    real = cotyledon.ServiceManager
    cotyledon.ServiceManager = recording.manager  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        cotyledon.ServiceManager = real  # type: ignore[misc]


@contextmanager
def option_reads_refused() -> Iterator[None]:
    """Have this thread raise where it reads an option of any configuration in the block."""
    from oslo_config import cfg  # noqa: PLC0415  # after the program

    options: Any = cfg.ConfigOpts
    read, ours = options._get, threading.get_ident()

    def refuse(self: Any, name: str, group: Any = None, namespace: Any = None) -> Any:
        if threading.get_ident() == ours and not (group is None and name in self._groups):
            raise RuntimeError(f"option {name} is read before the configuration is")
        return read(self, name, group, namespace)

    options._get = refuse
    try:
        yield
    finally:
        options._get = read


class FileAccess(Protocol):
    """How oslo.config comes to its files."""

    def parse(self, parser: Any) -> None:
        """Parse the file of a parser, `parser.filename`. May raise anything."""

    def exists(self, path: str) -> bool:
        """Whether there is such a file, or directory."""

    def glob(self, pattern: str) -> list[str]:
        """The files of a directory."""


class _Altered:
    """A module with some names of ours."""

    def __init__(self, module: ModuleType, **names: object) -> None:
        self._module = module
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


@contextmanager
def files_by(access: FileAccess) -> Iterator[None]:
    """Have oslo.config come to its files in this way in the block."""
    from oslo_config import cfg  # noqa: PLC0415  # after the program

    module: Any = cfg
    before = module.ConfigParser.parse, module.os, module.glob

    def parse(parser: Any) -> None:
        access.parse(parser)

    module.ConfigParser.parse = parse
    module.os = _Altered(os, path=_Altered(os.path, exists=access.exists))
    module.glob = _Altered(glob, glob=access.glob)
    try:
        yield
    finally:
        module.ConfigParser.parse, module.os, module.glob = before


def configure_mappers() -> None:
    """Have SQLAlchemy configure the mappers that there are, if it is imported."""
    if orm := sys.modules.get("sqlalchemy.orm"):
        with suppress(Exception):  # a mapper that is wrong is the program's own affair
            orm.configure_mappers()


def name_queues(name: str) -> None:
    """Have queues carry this name with use_queue_manager, unless the operator gives another one
    (`processname`). Called in the master, before the first fork."""
    from oslo_config import cfg  # noqa: PLC0415  # after the program
    from oslo_messaging._drivers import impl_rabbit  # noqa: PLC0415  # likewise

    cfg.set_defaults(impl_rabbit.rabbit_opts, processname=name)


def name_log(name: str) -> None:
    """Have a log carry this name, for good, if the operator gives it none: in `log_dir`, in syslog
    and in the journal. oslo.log takes it from the outermost frame, which is the script's in a
    main thread alone. Called in a worker, before the program's code runs."""
    from oslo_log import handlers  # noqa: PLC0415  # after the program

    handlers._get_binary_name = lambda: name


class ConnectionObserver(Protocol):
    """Connections that the program makes to its broker. Any thread."""

    def connect(self, connection: Any, go_on: Callable[[], None]) -> None:
        """`go_on` connects, and waits for a broker that is away. May raise anything."""


def observe_connections(observer: ConnectionObserver) -> None:
    """Have connections to RabbitMQ in this process observed. Called in the master, before the
    first fork."""
    from oslo_messaging._drivers.impl_rabbit import Connection  # noqa: PLC0415  # after the program

    connect = Connection.ensure_connection

    @wraps(connect)
    def connect_observed(self: Any) -> None:
        observer.connect(self, partial(connect, self))

    Connection.ensure_connection = connect_observed


def address_of(connection: Any) -> str:
    """Where a connection of the driver leads, or tries to."""
    place = connection.connection
    host = f"[{place.hostname}]" if ":" in place.hostname else place.hostname
    return f"{host}:{place.port}"


class Observer(Protocol):
    """What happens to the RPC servers of a program. Any thread."""

    def make_listener(self, server: Any, target: Any, otherwise: Callable[[], Any]) -> Any:
        """The listener of a server that starts; `otherwise` makes that of oslo.messaging. May
        raise LauncherError."""

    def process(self, message: Any, go_on: Callable[[], None]) -> None:
        """A message arrived; `go_on` executes it and sends the reply."""

    def dispatch(self, message: Any, go_on: Callable[[], Any]) -> Any:
        """Execute a message. Returns the reply, or raises."""


def observe(observer: Observer) -> None:
    """Have all RPC servers of oslo.messaging in this process observed, whatever their class, and
    use an executor whose idle threads do not wake. Called in the master, before the first fork."""
    from oslo_messaging.rpc.dispatcher import RPCDispatcher  # noqa: PLC0415  # after the program
    from oslo_messaging.rpc.server import RPCServer  # noqa: PLC0415

    initialize, listen, process, dispatch = (
        RPCServer.__init__,
        RPCServer._create_listener,
        RPCServer._process_incoming,
        RPCDispatcher.dispatch,
    )

    @wraps(initialize)
    def initialize_observed(self: Any, *args: Any, **options: Any) -> None:
        initialize(self, *args, **options)
        self._executor_cls = partial(ThreadPoolExecutor, thread_name_prefix="call")

    @wraps(process)
    def process_observed(self: Any, incoming: list[Any]) -> None:
        observer.process(incoming[0], partial(process, self, incoming))

    @wraps(dispatch)
    def dispatch_observed(self: Any, incoming: Any) -> Any:
        return observer.dispatch(incoming, partial(dispatch, self, incoming))

    RPCServer.__init__ = initialize_observed
    RPCServer._create_listener = lambda self: observer.make_listener(
        self, self._target, partial(listen, self)
    )
    RPCServer._process_incoming = process_observed
    RPCDispatcher.dispatch = dispatch_observed

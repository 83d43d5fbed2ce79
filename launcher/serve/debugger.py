"""The debugger of a worker, on demand: debugpy, for a client of the Debug Adapter Protocol.

debugpy knows TCP only, and checks nobody. So the client connects to a unix socket, where the
kernel names its user: root and the service's own are let in. For each client the worker listens
on loopback for one moment, has debugpy connect there, and makes sure that it was this process.
Then it passes on what both say.

This module has all private names of pydevd, debugpy's lower half.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from importlib.util import find_spec

from launcher import peer_credentials
from launcher.board.slot import Slot
from launcher.directories import paths
from launcher.directories.beneath import Beneath
from launcher.exception_text import reason
from launcher.serve.backdoor import ask_sockets
from launcher.serve.remote_pdb import RemotePdb, attaches

LOG = logging.getLogger(__name__)

CLOSED, OPEN, FAILED = 0, 1, 2  # the word `debugger` of a slot
CONNECT_SECONDS = 10.0  # for debugpy, to connect to its own process
LOOK_SECONDS = 0.02
RETRY_SECONDS = 1.0  # after a client that could not be accepted
BLOCK_BYTES = 65536
LOCALHOST = "127.0.0.1"


class Debugger:
    """One a worker."""

    def __init__(self, slot: Slot, runtime_path: str, side: str) -> None:
        """:param side: see `Board.side`."""
        self._slot = slot
        self._side = side
        self._runtime_path = runtime_path
        self.pdb = RemotePdb(_start)
        self._lock = threading.Lock()
        self._name = ""  # of the socket's file
        self._listener: socket.socket | None = None
        self._closed = threading.Event()
        self._connections: set[socket.socket] = set()

    def follow(self) -> None:
        """Open or close it, as the board says. Called in a thread of its own, after a change."""
        with self._lock:
            wanted = bool(self._slot.get("debug_until"))
            if wanted and self._listener is None:
                try:
                    if not attaches() or find_spec("debugpy"):
                        self._open()
                    self.pdb.let_in()
                except Exception as error:
                    self._close(FAILED)
                    LOG.exception("the debugger cannot be opened: %s", reason(error))
                    return
                self._slot.put("debugger", OPEN)
            elif not wanted:
                self._close(CLOSED)

    def close(self) -> None:
        """Any thread: let no client in, and have all threads go on. For a drain. It logs a file
        that cannot be removed."""
        with self._lock:
            self._close(CLOSED)

    def descriptors(self) -> list[int]:
        """Called in a forked child: the sockets that it must not keep."""
        listener = [self._listener] if self._listener else []
        return [one.fileno() for one in (*listener, *self._connections)]

    def _open(self) -> None:
        import debugpy  # noqa: PLC0415  # optional

        debugpy.configure(subProcess=False)
        # All threads of a worker are daemons: pydevd would take the process for ended. The main
        # thread handles the signals of the master, and has to go on.
        main = vars(threading.main_thread())
        main.update({"__pydevd_main_thread": True, "pydev_do_not_trace": True})
        self._name = paths.debugger_name(self._slot.number, self._side)
        listener = socket.socket(socket.AF_UNIX)
        try:
            os.fchmod(listener.fileno(), 0o600)  # the file's mode, from its first moment
            with closing(Beneath.open_path(self._runtime_path)) as directory:
                directory.remove(self._name)  # left by a worker that was killed
                directory.give_name(self._name, listener)
            listener.listen()
            self._closed.clear()
            self._listener = listener
            _start("debugger", partial(self._serve, listener, debugpy.connect))
        except BaseException:
            self._listener = None
            listener.close()
            raise
        LOG.warning("debugger open: a client may stop all threads of this worker")

    def _close(self, word: int) -> None:
        """:param word: what the slot says then."""
        self.pdb.close()
        listener, self._listener = self._listener, None
        if listener is None:
            self._slot.put("debugger", word)
            return
        self._closed.set()
        for one in (listener, *self._connections):
            _shut(one)
        try:
            with closing(Beneath.open_path(self._runtime_path)) as directory:
                directory.remove(self._name)
        except OSError as error:
            LOG.warning("the debugger's socket %s stays: %s", self._name, reason(error))
        finally:
            self._slot.put("debugger", word)  # the file has gone by then
        LOG.info("debugger closed")

    def _serve(self, listener: socket.socket, connect: Callable[..., object]) -> None:
        """One client at a time, until the listener is closed."""
        with listener:
            while self._listener is listener:
                try:
                    client, _ = listener.accept()
                except OSError as error:
                    if self._listener is listener:  # else it was closed
                        LOG.warning("the debugger lets no client in: %s", reason(error))
                        self._closed.wait(RETRY_SECONDS)
                    continue
                with client:
                    self._let_debug(client, connect)

    def _let_debug(self, client: socket.socket, connect: Callable[..., object]) -> None:
        try:
            if not _is_allowed(client):
                return
            self._await_rest()
            with self._connected(connect) as own, self._known(client), self._known(own):
                LOG.warning("a debugger's client has connected")
                back = _start("debugger-relay", partial(_pass_on, own, client))
                _pass_on(client, own)
                back.join()
        except OSError as error:
            LOG.error("the debugger does not answer: %s", reason(error))
        except Exception:  # a third party's, or no further thread can be started
            LOG.exception("the debugger fails")
        else:
            LOG.info("the debugger's client has gone")

    def _await_rest(self) -> None:
        """Wait until debugpy has done with the client before."""
        from _pydevd_bundle.pydevd_constants import (  # noqa: PLC0415  # debugpy puts it in the path
            get_global_debugger,
        )

        end = time.monotonic() + CONNECT_SECONDS
        while get_global_debugger() is not None:
            if self._listener is None or time.monotonic() > end:
                raise TimeoutError("it has not done with the client before")
            time.sleep(LOOK_SECONDS)

    @contextmanager
    def _connected(self, connect: Callable[..., object]) -> Iterator[socket.socket]:
        """A connection to debugpy in this process."""
        with socket.create_server((LOCALHOST, 0)) as listener:
            # It returns when the client has configured it.
            _start("debugger-connect", partial(_attach, connect, listener.getsockname()))
            own = _accept_own(listener)
        with own:
            own.settimeout(None)
            yield own

    @contextmanager
    def _known(self, connection: socket.socket) -> Iterator[None]:
        """What `_close` shuts."""
        self._connections.add(connection)
        try:
            if self._listener is None:
                _shut(connection)
            yield
        finally:
            self._connections.discard(connection)


def untraced(thread: threading.Thread) -> threading.Thread:
    """Have debugpy neither stop nor show a thread, which is not started yet. pydevd looks at these
    attributes of the thread that it runs in."""
    vars(thread).update(pydev_do_not_trace=True, is_pydev_daemon_thread=True)
    return thread


def _start(name: str, target: Callable[[], object]) -> threading.Thread:
    thread = untraced(threading.Thread(target=target, name=name, daemon=True))
    thread.start()
    return thread


def _attach(connect: Callable[..., object], address: tuple[str, int]) -> None:
    try:
        connect(address)
    except Exception as error:  # noqa: BLE001  # a third party's
        LOG.error("debugpy cannot connect: %s", reason(error))


def _accept_own(listener: socket.socket) -> socket.socket:
    """The connection whose other end is in this process. A stranger may be quicker."""
    end = time.monotonic() + CONNECT_SECONDS
    while (left := end - time.monotonic()) > 0:
        listener.settimeout(left)
        own = listener.accept()[0]
        with suppress(OSError):  # a stranger has gone already
            here, there = _ends(own)
            if (there, here) in ask_sockets(_ends).values():
                return own
        own.close()
    raise TimeoutError("debugpy has not connected")


def _ends(connection: socket.socket) -> tuple[object, object]:
    return connection.getsockname(), connection.getpeername()


def _is_allowed(client: socket.socket) -> bool:
    """Allow root and the service's own user, as the control socket does."""
    pid, uid, _ = peer_credentials.of_peer(client)
    allowed = uid in {0, os.geteuid()}
    if not allowed:
        LOG.warning("debugger: pid %d of uid %d turned away", pid, uid)
    return allowed


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """Until one of both ends; then end the other one, too."""
    with suppress(OSError):
        while data := source.recv(BLOCK_BYTES):
            target.sendall(data)
    _shut(source)
    _shut(target)


def _shut(one: socket.socket) -> None:
    with suppress(OSError):  # it is not connected any more
        one.shutdown(socket.SHUT_RDWR)

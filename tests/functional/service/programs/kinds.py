"""Programs that launch their services in other ways, each a function."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from signal import SIGHUP, SIGTERM, SIGUSR2, signal
from typing import Any

import cotyledon
import oslo_messaging
from cotyledon import oslo_config_glue
from oslo_service import loopingcall, service

from tests.functional.service.programs import common, cotyledon_program, oslo_program
from tests.functional.service.programs.common import CONF


class Second(oslo_program.Service):
    """Serves another topic."""

    topic = "second"

    def start(self) -> None:
        """Say what oslo.service has set."""
        assert self.backdoor_port is None
        super().start()


class SecondOfCotyledon(cotyledon_program.Service):
    """Likewise."""

    topic = "second"


class Outer(oslo_program.Service):
    """Runs another service in threads of its process, and nothing in a third launcher."""

    def __init__(self) -> None:
        super().__init__()
        self._inner = service.Launcher(CONF, restart_method="mutate")
        self._empty = service.Launcher(CONF)

    def start(self) -> None:
        """Start both."""
        super().start()
        self._inner.launch_service(Second())

    def stop(self, graceful: bool = False) -> None:
        """Stop both."""
        self._inner.stop()
        self._empty.stop()
        super().stop(graceful)

    def wait(self) -> None:
        """Wait for both."""
        self._inner.wait()
        self._empty.wait()
        super().wait()


class Briefly(oslo_program.Service):
    """Waits in its start function for something, before and after it has its RPC server."""

    started = False

    def start(self) -> None:
        """Be a while without a server, and then with one."""
        self._wait_for_something()
        super().start()
        self._wait_for_something()
        Briefly.started = True

    def _wait_for_something(self) -> None:
        looks = iter(range(3))

        def look() -> None:
            if next(looks, None) is None:
                raise loopingcall.LoopingCallDone

        call = loopingcall.FixedIntervalLoopingCall(look)
        call.start(interval=0.2)
        call.wait()


class AfterBriefly(Second):
    """Is not started before that one has."""

    def start(self) -> None:
        """Look at it."""
        assert Briefly.started
        super().start()


class Waiting(oslo_program.Service):
    """Waits in its start function as long as it serves."""

    def start(self) -> None:
        """Wait for a looping call that never ends."""
        super().start()
        call = loopingcall.FixedIntervalLoopingCall(threading.active_count)
        call.start(interval=0.1)
        call.wait()


class Failing(oslo_program.Service):
    """Fails in its start function, when it executes a call already: if it is told to."""

    def start(self) -> None:
        """Serve, and fail perhaps."""
        super().start()
        if CONF.fault == "raise with a call":
            common.Endpoint.working.wait()
            raise RuntimeError("the group cannot be joined")


class BehindAGate(Second):
    """Starts when there is no file `gate` any more."""

    def start(self) -> None:
        """Wait for that."""
        while Path(CONF.state_path, "gate").exists():
            time.sleep(0.05)
        super().start()


class FailingInTheStop(SecondOfCotyledon):
    """`run` serves as long as it can."""

    def __init__(self, worker_id: Any, conf: Any) -> None:
        super().__init__(worker_id, conf)
        signal(SIGHUP, _ignore)  # cotyledon makes it in the main thread
        self._stopped = threading.Event()

    def run(self) -> None:
        """Fail when it is stopped."""
        super().run()
        self._stopped.wait()
        raise RuntimeError("its connection is closed")

    def terminate(self) -> None:
        """Close it."""
        super().terminate()
        self._stopped.set()


def failing_in_the_start() -> None:
    """When it has begun to serve."""
    common.configure(sys.argv)
    service.launch(CONF, Failing(), workers=CONF.workers).wait()


def failing_in_the_stop() -> None:
    """One of two services."""
    common.configure(sys.argv)
    manager = cotyledon.ServiceManager()
    manager.register_hooks(on_new_worker=_fail)
    manager.add(cotyledon_program.Service, workers=2, args=(CONF,))
    manager.add(FailingInTheStop, workers=1, args=(CONF,))
    manager.run()


def behind_a_gate() -> None:
    """Two services, of which one starts late."""
    common.configure(sys.argv)
    _launch(oslo_program.Service(), BehindAGate())


def waiting_in_start() -> None:
    """Such a service, and another one."""
    common.configure(sys.argv)
    _launch(Waiting(), Second())


def waiting_briefly() -> None:
    """One that goes on by itself, and another one."""
    common.configure(sys.argv)
    _launch(Briefly(), AfterBriefly())


def nested() -> None:
    """A service within a service."""
    common.configure(sys.argv)
    service.launch(CONF, Outer(), workers=CONF.workers).wait()


def process_launcher() -> None:
    """Two services, each with a number of workers."""
    common.configure(sys.argv)
    _launch(oslo_program.Service(), Second())


def service_launcher() -> None:
    """One service in this process."""
    common.configure(sys.argv)
    launcher = service.ServiceLauncher(CONF)
    launcher.launch_service(oslo_program.Service())
    sys.exit(launcher.wait())


def base_launcher() -> None:
    """Two services in this process."""
    common.configure(sys.argv)
    launcher = service.Launcher(CONF, "mutate")
    launcher.launch_service(oslo_program.Service())
    launcher.launch_service(Second())
    launcher.wait()


def at_once() -> None:
    """In one line."""
    common.configure(sys.argv)
    service.launch(CONF, oslo_program.Service(), CONF.workers, "mutate").wait()


def without_a_fork() -> None:
    """`launch` waits for the service."""
    common.configure(sys.argv)
    service.launch(CONF, oslo_program.Service(), 1, "mutate", True)


def two_of_cotyledon() -> None:
    """Two services of cotyledon."""
    common.configure(sys.argv)
    manager = cotyledon.ServiceManager()
    oslo_config_glue.setup(manager, CONF)
    manager.add(cotyledon_program.Service, workers=2, args=(CONF,))
    manager.add(SecondOfCotyledon, workers=1, kwargs={"conf": CONF})
    manager.run()


def own_manager() -> None:
    """A manager of its own, in a module that is imported late."""
    common.configure(sys.argv)
    from tests.functional.service.programs import late_manager  # noqa: PLC0415  # see above

    late_manager.Manager([]).serve(CONF)


def cleaning_up() -> None:
    """It ends what its service uses when it has waited, and catches everything."""
    common.configure(sys.argv)
    transport = oslo_messaging.get_rpc_transport(CONF)
    served = oslo_program.Service()
    served.transport = transport
    try:
        service.launch(CONF, served, workers=CONF.workers).wait()
    except BaseException:  # noqa: BLE001  # as careless authors do
        sys.exit(1)
    finally:
        transport.cleanup()


def threads_and_children() -> None:
    """It has threads, children and signal handlers, and waits in a thread."""
    common.configure(sys.argv)
    for number in (SIGTERM, SIGHUP, SIGUSR2):
        signal(number, _ignore)
    threading.Thread(target=threading.Event().wait, name="of-main", daemon=True).start()
    subprocess.Popen(["sleep", "600"])
    launcher = service.launch(CONF, oslo_program.Service(), workers=CONF.workers)
    waiting = threading.Thread(target=launcher.wait)
    waiting.start()
    waiting.join()


def _launch(first: Any, second: Any) -> None:
    launcher = service.ProcessLauncher(CONF, restart_method="mutate")
    launcher.launch_service(first, workers=CONF.workers)
    launcher.launch_service(second, workers=1)
    launcher.wait()


def _fail(*_: Any) -> None:
    raise RuntimeError("the hook is broken")


def _ignore(*_: Any) -> None:
    """A signal."""

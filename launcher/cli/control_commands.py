"""Commands that ask the master, such as `status`, `reload` and `pause`."""

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from launcher.cli.control_client import ANSWER_SECONDS, ControlClient, error_text
from launcher.cli.output import (
    complain,
    print_block,
    print_json,
    print_line,
    print_text,
)
from launcher.errors import (
    CommandFailed,
    ExitStatus,
    NotAnswering,
    NotRunning,
    ReloadFailed,
    ServiceStopping,
)

if TYPE_CHECKING:
    import argparse

    from rich.console import RenderableType

EXIT_HEALTHY, EXIT_DEGRADED, EXIT_NOT_RUNNING = 0, 1, 3
REPORT_SECONDS = 30.0  # the master waits for the worker meanwhile
SYSTEMD_SECONDS = 2.0  # within which systemd's SIGTERM follows the one to the master


def reload(client: ControlClient, args: "argparse.Namespace") -> int:
    """Reload the configuration. Return when that is done.

    :raises ReloadFailed: the old configuration stays in force, or some workers keep it.
    """
    by_systemd = os.environ.get("SYSTEMD_EXEC_PID") == str(os.getpid())  # systemd.exec(5)
    if by_systemd:
        import signal  # noqa: PLC0415  # for this alone

        signal.signal(signal.SIGTERM, _end_with_the_unit)
    try:
        status, answer = client.post("/reload")
        if status != 200:
            raise ReloadFailed(reason=error_text(status, answer))
    except (NotRunning, NotAnswering, ReloadFailed) as error:
        answered = isinstance(error, ReloadFailed)
        if by_systemd and (not answered or str(ServiceStopping()) in str(error)):
            time.sleep(SYSTEMD_SECONDS)  # the unit is stopped: wait for our own SIGTERM
        raise
    print_line("reloaded")
    return 0


def _end_with_the_unit(number: int, _: object) -> NoReturn:
    """Handle SIGTERM: systemd stops the unit during the reload. If the reload failed, systemd
    would call the unit failed."""
    os.write(2, b"the reload ends, since the unit is stopped\n")
    os._exit(ExitStatus.STOPPED)


def scale(client: ControlClient, args: "argparse.Namespace") -> int:
    """Change the number of workers. Return when that many serve and surplus ones have left.

    :raises CommandFailed: an additional worker does not become ready, for instance.
    """
    answer = client.command(f"scale {args.number}", "/scale", {"workers": args.number})
    number = answer["workers"]
    print_line(f"scaled to {number} worker{'' if number == 1 else 's'}")
    return 0


def restart_worker(client: ControlClient, args: "argparse.Namespace") -> int:
    """Drain a worker and replace it. Return when the new worker serves.

    :raises CommandFailed: it does not.
    """
    path = f"/workers/{args.slot}/restart"
    answer = client.command(f"restart-worker {args.slot}", path, {})
    print_line(f"worker {args.slot} is replaced: pid {answer['pid']}")
    return 0


def pause(client: ControlClient, args: "argparse.Namespace") -> int:
    """Have one worker or all take no calls. Return when that is so; calls in hand go on.

    :raises CommandFailed: a worker has not answered, for instance.
    """
    wish = {"slot": args.slot, "reason": args.reason, "persist": args.persist}
    return _tell_paused(client.command("pause", "/pause", wish))


def resume(client: ControlClient, args: "argparse.Namespace") -> int:
    """Have one worker or all take calls again. Raises as `pause`."""
    return _tell_paused(client.command("resume", "/resume", {"slot": args.slot}))


def _tell_paused(answer: dict[str, Any]) -> int:
    number = answer["paused"]
    print_line(f"{answer['result']}; {number or 'no'} worker{'' if number == 1 else 's'} paused")
    return 0


def status(client: ControlClient, args: "argparse.Namespace") -> int:
    """Show the workers. Return 0 when the service is healthy, 1 when it is degraded or does not
    answer, 3 when it does not run."""
    if args.watch:
        return _watch(client)
    return _judged(client, lambda: _show_status(client, args))


def health(client: ControlClient, args: "argparse.Namespace") -> int:
    """Show the health, or the answer of one probe. For the probes of a container.

    Return 0 when the service serves, also with a warning, or the probe passes. Return 1 when not,
    or when the service does not answer; 3 when it does not run.
    """
    return _judged(client, lambda: _show_health(client, args))


def _judged(client: ControlClient, show: Callable[[], int]) -> int:
    """Show an answer, or say that there is none; return the exit status."""
    try:
        return show()
    except (NotRunning, NotAnswering) as error:
        complain(client.binary, error)
        return EXIT_NOT_RUNNING if isinstance(error, NotRunning) else EXIT_DEGRADED


def _show_status(client: ControlClient, args: "argparse.Namespace") -> int:
    if args.report is not None:
        return _report(client, args.report)
    answer = _status(client)
    if args.json:
        print_json(answer)
    else:
        print_text(_table(answer))
    return EXIT_HEALTHY if answer["healthy"] else EXIT_DEGRADED


def _show_health(client: ControlClient, args: "argparse.Namespace") -> int:
    path = f"/{args.probe}{'?verbose' if args.json else ''}" if args.probe else "/health"
    _, answer = client.ask("GET", path, timeout=ANSWER_SECONDS)
    if args.json:
        print_json(answer)
    else:
        print_line(f"{answer['status']}: {answer['output']}")
    return EXIT_DEGRADED if answer["status"] == "fail" else EXIT_HEALTHY


def _report(client: ControlClient, slot: int) -> int:
    path = f"/workers/{slot}/report"
    client.check_answers()
    code, answer = client.ask("GET", path, timeout=REPORT_SECONDS)
    if code != 200:
        raise CommandFailed(command=f"status --report {slot}", reason=error_text(code, answer))
    print_block(answer["report"].rstrip("\n"))
    return EXIT_HEALTHY


def _table(answer: dict[str, Any]) -> str:
    from launcher.cli import screen  # noqa: PLC0415  # imports rich

    return screen.show(answer)


def _status(client: ControlClient) -> dict[str, Any]:
    return client.ask("GET", "/status", timeout=ANSWER_SECONDS)[1]


def _watch(client: ControlClient) -> int:
    """Show the workers until Ctrl-C."""
    from launcher.cli import screen  # noqa: PLC0415  # imports rich

    def look() -> "RenderableType":
        try:
            return screen.render(_status(client))
        except (NotRunning, NotAnswering) as error:
            return screen.plain([str(error)])

    return screen.watch(look)

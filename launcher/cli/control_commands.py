"""Commands that ask the master, such as `status`, `reload` and `pause`."""

import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from launcher.cli.control_client import ANSWER_SECONDS, ControlClient, error_text
from launcher.cli.namespaces import within
from launcher.cli.output import (
    complain,
    print_block,
    print_json,
    print_line,
    print_text,
)
from launcher.cli.reload_by_systemd import ending_with_the_unit
from launcher.errors import (
    CommandFailed,
    NotAnswering,
    NotRunning,
    ReloadFailed,
    UpgradeFailed,
    UsageError,
)

if TYPE_CHECKING:
    import argparse

    from rich.console import RenderableType

    from launcher.cli.watch_keys import Action

EXIT_HEALTHY, EXIT_DEGRADED, EXIT_NOT_RUNNING = 0, 1, 3
REPORT_SECONDS = 30.0  # the master waits for the worker meanwhile


def reload(client: ControlClient, args: "argparse.Namespace") -> int:
    """Reload the configuration. Return when that is done.

    :raises UsageError: `--slots` without `--canary`.
    :raises ReloadFailed: the old configuration stays in force, or some workers keep it.
    """
    if args.slots and not args.canary:
        raise UsageError(problem="--slots is for --canary SECONDS")
    wish = {"canary": args.canary, "slots": args.slots} if args.canary else None
    with ending_with_the_unit():
        status, answer = client.post("/reload", wish)
        if status != 200:
            raise ReloadFailed(reason=error_text(status, answer))
    if answer.get("verdict"):
        print_line(f"the canary has held: {answer['verdict']}")
    print_line("reloaded")
    return 0


def upgrade(client: ControlClient, args: "argparse.Namespace") -> int:
    """Have a new master, of the code as it is now, take over. Return when it has.

    :raises UpgradeFailed: it did not: the old one goes on.
    """
    with ending_with_the_unit():
        status, answer = client.post("/upgrade")
        if status != 200:
            raise UpgradeFailed(reason=error_text(status, answer))
    print_line(f"upgraded: version {answer['version']}, pid {answer['pid']}")
    return 0


def scale(client: ControlClient, args: "argparse.Namespace") -> int:
    """Change the number of workers. Return when that many serve and surplus ones have left.

    :raises CommandFailed: an additional worker does not become ready, for instance.
    """
    print_line(_scale(client, args.number))
    return 0


def _scale(client: ControlClient, number: int | str) -> str:
    answer = client.command(f"scale {number}", "/scale", {"workers": number})
    if number == "auto":
        return "the number of workers follows the demand, if workers_max is set"
    return f"scaled to {answer['workers']} worker{'' if answer['workers'] == 1 else 's'}"


def restart_worker(client: ControlClient, args: "argparse.Namespace") -> int:
    """Drain a worker and replace it. Return when the new worker serves.

    :raises CommandFailed: it does not.
    """
    print_line(_restart(client, args.slot))
    return 0


def _restart(client: ControlClient, slot: int) -> str:
    answer = client.command(f"restart-worker {slot}", f"/workers/{slot}/restart", {})
    return f"worker {slot} is replaced: pid {answer['pid']}"


def pause(client: ControlClient, args: "argparse.Namespace") -> int:
    """Have one worker or all take no calls. Return when that is so; calls in hand go on.

    :raises CommandFailed: a worker has not answered, for instance.
    """
    wish = {"slot": args.slot, "reason": args.reason, "persist": args.persist}
    print_line(_pause(client, "pause", wish))
    return 0


def resume(client: ControlClient, args: "argparse.Namespace") -> int:
    """Have one worker or all take calls again. Raises as `pause`."""
    print_line(_pause(client, "resume", {"slot": args.slot}))
    return 0


def _pause(client: ControlClient, verb: str, wish: dict[str, Any]) -> str:
    answer = client.command(verb, f"/{verb}", wish)
    number = answer["paused"]
    return f"{answer['result']}; {number or 'no'} worker{'' if number == 1 else 's'} paused"


def debug(client: ControlClient, args: "argparse.Namespace") -> int:
    """Open the debugger of a worker, and say how to connect; or close it.

    :raises CommandFailed: it is switched off or not installed, for instance.
    """
    wish = {"off": True} if args.off else {"seconds": args.seconds}
    answer = client.command(f"debug {args.slot}", f"/workers/{args.slot}/debug", wish)
    if args.off:
        print_line(f"worker {args.slot}: debugger closed")
        return 0
    print_line(
        f"worker {args.slot} pid {answer['pid']}: no deadline counts for {answer['seconds']:g} s, "
        f"or until 'debug {args.slot} --off'"
    )
    if path := answer["socket"]:
        print_line(f"debugpy listens at {path}; connect as its user or root, for instance by")
        print_line(f"  ssh -N -L 5678:{path} {socket.gethostname()}")
        print_line("and attach a client of the Debug Adapter Protocol to localhost:5678")
    if command := answer["command"]:
        print_line(f"pdb attaches, as root: {within(answer['pid'], command)}")
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
    print_block(_fetch_report(client, slot))
    return EXIT_HEALTHY


def _fetch_report(client: ControlClient, slot: int) -> str:
    client.check_answers()
    code, answer = client.ask("GET", f"/workers/{slot}/report", timeout=REPORT_SECONDS)
    if code != 200:
        raise CommandFailed(command=f"status --report {slot}", reason=error_text(code, answer))
    return str(answer["report"]).rstrip("\n")


def _table(answer: dict[str, Any]) -> str:
    from launcher.cli import screen  # noqa: PLC0415  # imports rich

    return screen.show(answer)


def _status(client: ControlClient) -> dict[str, Any]:
    return client.ask("GET", "/status", timeout=ANSWER_SECONDS)[1]


def _watch(client: ControlClient) -> int:
    """Show the workers until Ctrl-C. On a terminal, keys do something."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        from launcher.cli import watch  # noqa: PLC0415  # imports rich

        return watch.run(client, lambda action: _perform(client, action))
    from launcher.cli import screen  # noqa: PLC0415  # imports rich

    def look() -> "RenderableType":
        try:
            return screen.render(_status(client))
        except (NotRunning, NotAnswering) as error:
            return screen.plain([str(error)])

    return screen.watch(look)


def _perform(client: ControlClient, action: "Action") -> str:
    number = action.number or 0
    match action.name:
        case "restart":
            return _restart(client, number)
        case "scale":
            return _scale(client, number)
        case "report":
            return _fetch_report(client, number)
    return _pause(client, action.name, {})

"""The screen of `status`: a headline and a table that fits 80 columns.

rich draws it: it knows when not to colour, and refreshes without flicker. Imported when needed.
"""

import io
import time
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from launcher.board.states import Wanted
from launcher.cli.output import output_lost
from launcher.cli.short_numbers import age, amount
from launcher.errors import ExitStatus
from launcher.foreign_text import fit

WIDTH = 80  # unless stdout is a terminal
REFRESH_SECONDS = 1.0
COLUMNS = (  # name, width in characters, whether it is a number
    ("SLOT", 4, True),
    ("PID", 7, True),
    ("STATE", 8, False),
    ("AT", 13, False),
    ("AGE", 4, True),
    ("RST", 3, True),
    ("CALLS", 5, True),
    ("DONE", 5, True),
    ("FAIL", 4, True),
    ("PROBE", 5, True),
    ("USS", 5, True),
    ("CPU%", 4, True),
)
MOST_WAITS = 3  # methods that are named
STYLES = {
    "serving": "green",
    "paused": "yellow",
    "starting": "yellow",
    "stopping": "yellow",
    "empty": "red",
}


def show(answer: dict[str, Any]) -> str:
    """Return the screen as text, coloured if stdout is a terminal."""
    text = io.StringIO()
    console = make_console(text)
    console.print(render(answer))
    return text.getvalue().rstrip("\n")


def watch(look: Callable[[], RenderableType], pause: float = REFRESH_SECONDS) -> int:
    """Show what `look` returns until Ctrl-C; return the exit status. A terminal's whole screen is
    used.

    :param pause: seconds between two looks. :raises OutputLost: stdout cannot be written.
    """
    try:
        _watch(make_console(), look, pause)
    except KeyboardInterrupt:
        return ExitStatus.STOPPED
    except BrokenPipeError:
        raise
    except OSError as error:
        raise output_lost(error) from error


def _watch(console: Console, look: Callable[[], RenderableType], pause: float) -> NoReturn:
    if not console.is_terminal:
        while True:
            console.print(look(), "", crop=False)
            time.sleep(pause)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(look(), refresh=True)
            time.sleep(pause)


def plain(lines: Iterable[str]) -> Text:
    """Lines that are not wrapped: a terminal cuts them."""
    return Text("\n".join(map(fit, lines)), no_wrap=True, overflow="ignore")


# What is wanted of a slot, unless it is a worker.
WISHES = {
    Wanted.NOBODY.label: "is to leave",
    Wanted.SUCCESSOR.label: "is to leave, and another one follows",
    Wanted.RENEWAL.label: "is to leave, and one with the new configuration follows",
    Wanted.ADDITION.label: "is one more, and has yet to prove itself",
    Wanted.CANDIDATE.label: "has the new configuration, and has yet to prove itself",
    Wanted.SPARE.label: "takes no calls, and waits to replace a worker that dies",
}


def make_console(file: TextIO | None = None) -> Console:
    """A console with the colours and width of stdout.

    :param file: where to write instead of stdout.
    """
    if Console().is_terminal:
        return Console(file=file, force_terminal=True, highlight=False)
    return Console(file=file, highlight=False, width=WIDTH)


def render(answer: dict[str, Any]) -> RenderableType:
    """The headline, the program if there is one, and a line for each worker. Below it, how the
    last worker of its slot died."""
    style = "bold green" if answer["healthy"] else "bold red"
    headline = Text(fit(answer["headline"]), style=style)
    parts: list[RenderableType] = [headline]
    if program := answer.get("program"):
        parts.append(Text(_program(program)))
    heading = len(parts)
    rows: list[dict[str, Any]] = []
    for worker in answer["workers"]:
        rows.append(worker)
        if remarks := _remarks(worker, answer.get("configuration")):
            parts += [_table(rows, answer["lead"], header=len(parts) == heading), *remarks]
            rows = []
    if rows:
        parts.append(_table(rows, answer["lead"], header=len(parts) == heading))
    if waits := answer.get("waits"):
        parts.append(Text(_waits(waits), style="dim"))
    return Group(*parts)


def _waits(waits: dict[str, Any]) -> str:
    """Within which time 95 % of the calls were begun; the slowest methods first."""
    slowest = sorted(waits.items(), key=lambda item: -item[1]["p95"])[:MOST_WAITS]
    told = (f"{fit(name)} {1000 * one['p95']:.0f} ms" for name, one in slowest)
    return f"95 % of calls were begun within: {', '.join(told)}"


def _program(program: dict[str, Any]) -> str:
    """What runs, of which package, and the services in each worker."""
    version = f" ({program['version']})" if program["version"] else ""
    services = f": {', '.join(program['services'])}" if program["services"] else ""
    return fit(f"program {program['name']}{version}{services}")


def _table(workers: list[dict[str, Any]], lead: int | None, *, header: bool) -> Table:
    table = Table(box=None, show_header=header, padding=(0, 1, 0, 0), pad_edge=False)
    for name, width, number in COLUMNS:
        justify: Any = "right" if number else "left"
        table.add_column(name, width=width, justify=justify, no_wrap=True, header_style="bold")
    for worker in workers:
        table.add_row(*_cells(worker, lead))
    return table


def _cells(worker: dict[str, Any], lead: int | None) -> list[RenderableType]:
    state, calls = worker["state"], worker["calls"]
    paused = state == "serving" and worker.get("paused")
    at = worker["last_task"] if state == "serving" else worker["step"]
    shown = "late" if worker["late"] else "paused" if paused else fit(state)
    style = "red" if worker["late"] else STYLES.get(shown, "")
    return [
        f"{'*' if worker['slot'] == lead else ''}{worker['slot']}",
        str(worker["pid"] or "-"),
        Text(shown, style=style),
        Text(fit(at or "-")),
        age(worker["age"]),
        str(worker["restarts"]),
        str(calls["in_hand"]),
        amount(calls["done"]),
        amount(calls["failed"]),
        age(worker["last_probe"]),
        amount(worker["memory"], 1024),
        "-" if worker["cpu_percent"] is None else f"{worker['cpu_percent']:.0f}",
    ]


def _remarks(worker: dict[str, Any], in_force: int | None) -> list[RenderableType]:
    """Lines below a worker's line."""
    remarks = [_end(worker["last_end"])] if worker["last_end"] else []
    if wish := WISHES.get(worker.get("wanted", "")):
        remarks.append(_remark(wish))
    if worker.get("configuration") not in {None, in_force}:
        remarks.append(_remark("has another configuration than the one in force"))
    return remarks


def _end(end: dict[str, Any]) -> RenderableType:
    text = f"{age(end['age'])} ago: {end['cause']} ({end['ending']}, {end['place']})"
    return _remark(text)


def _remark(text: str) -> RenderableType:
    return Padding(Text(fit(text), style="dim"), (0, 0, 0, 5), expand=False)

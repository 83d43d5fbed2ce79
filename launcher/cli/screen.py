"""The screen of `status`: a headline and a table that fits 80 columns.

rich draws it: it knows when not to colour, and refreshes without flicker. Imported when needed.
"""

import io
import time
from collections.abc import Callable
from typing import Any, NoReturn, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from launcher.board.states import Wanted
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
STYLES = {"serving": "green", "starting": "yellow", "stopping": "yellow", "empty": "red"}
AGES = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def show(answer: dict[str, Any]) -> str:
    """Return the screen as text, coloured if stdout is a terminal."""
    text = io.StringIO()
    console = make_console(text)
    console.print(render(answer))
    return text.getvalue().rstrip("\n")


def watch(look: Callable[[], dict[str, Any] | str]) -> NoReturn:
    """Show the answer of `look` each second until Ctrl-C. A terminal's whole screen is used.

    :param look: returns an answer of GET /status, or a text to show instead.
    """
    console = make_console()
    if not console.is_terminal:
        while True:
            console.print(_screen(look()), "")
            time.sleep(REFRESH_SECONDS)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(_screen(look()), refresh=True)
            time.sleep(REFRESH_SECONDS)


# What is wanted of a slot, unless it is a worker.
WISHES = {
    Wanted.NOBODY.label: "is to leave",
    Wanted.SUCCESSOR.label: "is to leave, and another one follows",
    Wanted.RENEWAL.label: "is to leave, and one with the new configuration follows",
    Wanted.ADDITION.label: "is one more, and has yet to prove itself",
    Wanted.CANDIDATE.label: "has the new configuration, and has yet to prove itself",
}


def make_console(file: TextIO | None = None) -> Console:
    """A console with the colours and width of stdout.

    :param file: where to write instead of stdout.
    """
    if Console().is_terminal:
        return Console(file=file, force_terminal=True, highlight=False)
    return Console(file=file, highlight=False, width=WIDTH)


def _screen(found: dict[str, Any] | str) -> RenderableType:
    return Text(fit(found)) if isinstance(found, str) else render(found)


def render(answer: dict[str, Any]) -> RenderableType:
    """The headline, and a line for each worker. Below it, how the last worker of its slot died."""
    style = "bold green" if answer["healthy"] else "bold red"
    headline = Text(fit(answer["headline"]), style=style)
    parts: list[RenderableType] = [headline]
    rows: list[dict[str, Any]] = []
    for worker in answer["workers"]:
        rows.append(worker)
        if remarks := _remarks(worker, answer.get("configuration")):
            parts += [_table(rows, answer["lead"], header=len(parts) == 1), *remarks]
            rows = []
    if rows:
        parts.append(_table(rows, answer["lead"], header=len(parts) == 1))
    return Group(*parts)


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
    at = worker["last_task"] if state == "serving" else worker["step"]
    style = "red" if worker["late"] else STYLES.get(state, "")
    return [
        f"{'*' if worker['slot'] == lead else ''}{worker['slot']}",
        str(worker["pid"] or "-"),
        Text("late" if worker["late"] else fit(state), style=style),
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


def age(seconds: float | None) -> str:
    """Seconds as at most four characters: 59s, 99m, 47h, 999d. "-" for None."""
    if seconds is None:
        return "-"
    for size, unit in AGES:
        if seconds >= 2 * size or size == 1:
            return f"{seconds // size:.0f}{unit}"
    return "0s"


def amount(number: int | None, base: int = 1000) -> str:
    """A number as at most five characters: 9999, 12.3M. "-" for None."""
    if number is None:
        return "-"
    if number < 10_000 and base == 1000:
        return str(number)
    value = float(number)
    for unit in ("", "K", "M", "G", "T"):
        if value < base or unit == "T":
            return f"{value:.0f}{unit}" if value >= 100 or not unit else f"{value:.1f}{unit}"
        value /= base
    return str(number)

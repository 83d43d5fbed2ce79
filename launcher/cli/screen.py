"""The screen of `status`: a headline and a table that fits 80 columns. Imported when needed.

rich draws it: of the libraries for terminals it is the best kept, and it knows when not to colour
and how to refresh without flicker.
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

WIDTH = 80  # where nobody says how wide it is; a terminal may be wider
REFRESH_SECONDS = 1.0
COLUMNS = (  # name, width, whether it is a number
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
    """The screen as text, coloured if stdout is a terminal."""
    text = io.StringIO()
    console = make_console(text)
    console.print(render(answer))
    return text.getvalue().rstrip("\n")


def watch(look: Callable[[], dict[str, Any] | str]) -> NoReturn:
    """Show what `look` says each second, a text as it is, until Ctrl-C; of a terminal the whole
    screen."""
    console = make_console()
    if not console.is_terminal:
        while True:
            console.print(_screen(look()), "")
            time.sleep(REFRESH_SECONDS)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(_screen(look()), refresh=True)
            time.sleep(REFRESH_SECONDS)


def make_console(file: TextIO | None = None) -> Console:
    """As for stdout.

    :param file: what it is to write to instead.
    """
    if Console().is_terminal:
        return Console(file=file, force_terminal=True, highlight=False)
    return Console(file=file, highlight=False, width=WIDTH)


def _screen(found: dict[str, Any] | str) -> RenderableType:
    return Text(found) if isinstance(found, str) else render(found)


def render(answer: dict[str, Any]) -> RenderableType:
    """The headline, and a line for each worker; of what the last one in its slot died below."""
    headline = Text(answer["headline"], style="bold green" if answer["healthy"] else "bold red")
    parts: list[RenderableType] = [headline]
    rows: list[dict[str, Any]] = []
    for worker in answer["workers"]:
        rows.append(worker)
        if worker["last_end"]:
            parts += [_table(rows, answer["lead"], header=len(parts) == 1), _end(worker)]
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
        Text("late" if worker["late"] else state, style=style),
        at or "-",
        age(worker["age"]),
        str(worker["restarts"]),
        str(calls["in_hand"]),
        amount(calls["done"]),
        amount(calls["failed"]),
        age(worker["last_probe"]),
        amount(worker["memory"], 1024),
        "-" if worker["cpu_percent"] is None else f"{worker['cpu_percent']:.0f}",
    ]


def _end(worker: dict[str, Any]) -> RenderableType:
    end = worker["last_end"]
    text = f"{age(end['age'])} ago: {end['cause']} ({end['ending']}, {end['place']})"
    return Padding(Text(text, style="dim"), (0, 0, 0, 5), expand=False)


def age(seconds: float | None) -> str:
    """In the largest unit of which there is one, in four characters: 59s, 99m, 47h, 999d."""
    if seconds is None:
        return "-"
    for size, unit in AGES:
        if seconds >= 2 * size or size == 1:
            return f"{seconds // size:.0f}{unit}"
    return "0s"


def amount(number: int | None, base: int = 1000) -> str:
    """In five characters: 9999, 12.3M."""
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

"""What a report finds in the service's row: another service of this name, a wrong clock.

Each is said in the log when it begins and ends, and in STATUS and health meanwhile.
"""

import logging
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from launcher.board.note import Note
from launcher.registry.records import ServiceRecord

LOG = logging.getLogger(__name__)


class Kind(Enum):
    """What was found, and what the log says when it is over."""

    OTHER = "no other service of this name reports any more"
    CLOCK = "the clock of this host is right again"


class Finding(NamedTuple):
    """A finding, and its sentence."""

    kind: Kind
    text: str


def judge(
    row: ServiceRecord, start_id: str, before: datetime, after: datetime, tolerance: timedelta
) -> list[Finding]:
    """The findings in a row. Pure.

    :param before, after: this host's time before and after the row was read.
    :param tolerance: by which the host's clock may be off.
    """
    found = []
    mine = row.start_id == start_id
    place, since = (row.rival_on, row.rival_since) if mine else (row.started_on, row.started_at)
    if place:
        began = f" since {since:%Y-%m-%d %H:%M:%S} UTC" if since else ""
        found.append(Finding(Kind.OTHER, f"another service of this name runs on {place}{began}"))
    ahead, behind = before - row.as_of, row.as_of - after
    if max(ahead, behind) > tolerance:
        seconds = max(ahead, behind).total_seconds()
        off = f"{seconds:.0f} s {'ahead of' if ahead > behind else 'behind'}"
        found.append(Finding(Kind.CLOCK, f"the clock of this host is {off} the database's"))
    return found


class RowFindings:
    """Says what is found. Used by the one thread that reports."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._told: dict[Kind, str] = {}

    def tell(self, found: list[Finding]) -> None:
        """Tell all findings of a report; an empty list says that they are over."""
        for finding in found:
            if finding.kind not in self._told:
                LOG.warning("%s", finding.text)
        now = dict(found)
        for kind in self._told.keys() - now.keys():
            LOG.info("%s", kind.value)
        self._told = now
        self._note.write("; ".join(now.values()))

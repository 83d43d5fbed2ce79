"""Judges what a service says of itself by what its clients get. Pure: observations in, lies out.

A *lie* is a contradiction between the two that lasts longer than the service's own time limits
allow for. Seconds of CLOCK_MONOTONIC throughout.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

PASS, WARN, FAIL = "pass", "warn", "fail"
NOTHING = ""  # no answer
LONGEST_SPAN = 3.0  # for which one sight may stand: beyond it, whoever looks was away himself
ALL_SERVE = re.compile(r"^(\d+)/\1 workers serving")
UNWELL = re.compile(r"^(degraded|draining|starting): ")
# compute-launcher(7): "in STATUS (until a reload succeeds)".
REMARK = "; reload failed: "


class Interval(NamedTuple):
    """A stretch of time."""

    began: float
    ended: float

    def overlap(self, began: float, ended: float) -> float:
        """How much of that one lies in it."""
        return max(0.0, min(self.ended, ended) - max(self.began, began))


class Sight(NamedTuple):
    """One look at everything.

    :ivar at: when it began. :ivar health: its word. :ivar headline: that of /status.
    :ivar states: of the workers in /status, "late" where it says so. :ivar told: the last STATUS=.
    :ivar main: whether a call to the main queue was answered.
    :ivar own: whether each worker has answered on its own server, by slot.
    """

    at: float
    health: str
    headline: str
    states: Mapping[int, str]
    told: str
    main: bool
    own: Mapping[int, bool]

    @property
    def all_answer(self) -> bool:
        """To a client everything is well."""
        return self.main and all(self.own.values())


class Rule(NamedTuple):
    """What must not hold for more than `limit` seconds.

    :ivar deaf: whether it rests on calls that fail: a client whose connection has just been cut
        proves nothing then.
    :ivar afresh: whether each trouble begins it anew, since that may be what is told of.
    """

    what: str
    limit: float
    contradicts: Callable[[Sight], bool]
    deaf: bool = False
    afresh: bool = False


class Lie(NamedTuple):
    """A contradiction that lasted too long."""

    what: str
    began: float
    lasted: float  # what the master's and the client's own absence have taken is left out
    sights: tuple[Sight, ...]  # the first and the last of it

    def __str__(self) -> str:
        return f"{self.what}, for {self.lasted:.1f} s: {self.sights[0]} … {self.sights[-1]}"


class Limits(NamedTuple):
    """Seconds that the service's options allow for.

    :ivar found: from a worker that does not answer to a headline that says so: the longer one of
        beat_timeout and probe_interval + probe_timeout, a round, a call's own time limit.
    :ivar replaced: in which a late worker is aborted, killed and no longer counted.
    :ivar well: from the end of a trouble to words that do not tell of it: restart_window.
    :ivar told: between STATUS= and the headline.
    """

    found: float
    replaced: float
    well: float
    told: float


def rules(slots: Collection[int], limits: Limits) -> list[Rule]:
    """All that holds of a service."""
    found, told = limits.found, limits.told
    return [
        Rule("health passes, but no call is answered", found, _passes_in_vain, deaf=True),
        Rule("the headline says that all serve, but no call is answered", found, _vain, deaf=True),
        *(
            Rule(text.format(slot), found, judge(slot), deaf=True)
            for slot in slots
            for text, judge in (
                ("status says that worker {} serves, but it does not answer", _claims),
                ("STATUS says that all serve, but worker {} does not answer", _tells),
            )
        ),
        Rule("health fails, but calls are answered", limits.replaced, _fails_in_vain),
        Rule("health does not answer, but calls are answered", limits.replaced, _mute),
        Rule("status does not answer, but calls are answered", limits.replaced, _shows_nothing),
        *(
            Rule(f"{what}, but all answer", limits.well, judge, afresh=True)
            for what, judge in (
                ("health warns", lambda sight: sight.all_answer and _warns(sight)),
                ("the headline is not well", lambda s: s.all_answer and _unwell(s.headline)),
                ("STATUS is not well", lambda s: s.all_answer and _unwell(s.told)),
            )
        ),
        Rule("STATUS and the headline disagree", told, _disagree),
    ]


def lies(
    sights: Sequence[Sight],
    all_rules: Sequence[Rule],
    stopped: Sequence[Interval] = (),
    deaf: Sequence[Interval] = (),
    struck: Sequence[float] = (),
) -> list[Lie]:
    """Every rule's contradictions that last too long, oldest first.

    :param sights: by their time.
    :param stopped: when the master could not run: it says nothing new then, and what a fault takes
        it to be found is the longer by that.
    :param deaf: when clients themselves are on their way back to the bus.
    :param struck: when each trouble began.
    """
    found: list[Lie] = []
    for rule in all_rules:
        left_out = [*stopped, *(deaf if rule.deaf else ())]
        found += _breaches(sights, rule, left_out, struck if rule.afresh else ())
    return sorted(found, key=lambda lie: lie.began)


def first_lies(sight: Sight) -> list[str]:
    """What is wrong with the first look after READY=1: by then everybody has been proven."""
    wrong = [f"worker {slot} does not answer" for slot, well in sight.own.items() if not well]
    if not sight.main:
        wrong.append("no call is answered")
    return [f"READY=1 was told, but {what}: {sight}" for what in wrong]


def _breaches(
    sights: Sequence[Sight], rule: Rule, left_out: Sequence[Interval], cuts: Sequence[float]
) -> Iterator[Lie]:
    for run in _runs(sights, rule, cuts):
        spans = pairwise(sight.at for sight in run)
        lasted = sum(_counted(began, ended, left_out) for began, ended in spans)
        if lasted > rule.limit:
            yield Lie(rule.what, run[0].at, lasted, (run[0], run[-1]))


def _runs(sights: Sequence[Sight], rule: Rule, cuts: Sequence[float]) -> Iterator[list[Sight]]:
    """The longest rows of sights that contradict, each with the sight by which it is over."""
    run: list[Sight] = []
    for sight in sights:
        cut = bool(run) and any(run[-1].at < at <= sight.at for at in cuts)
        run.append(sight)
        if cut or not rule.contradicts(sight):
            yield run
            run = [sight] if rule.contradicts(sight) else []
    yield run


def _counted(began: float, ended: float, left_out: Sequence[Interval]) -> float:
    """Seconds of that time, without those intervals."""
    ended = min(ended, began + LONGEST_SPAN)
    out = [one for one in left_out if one.overlap(began, ended)]
    merged: list[Interval] = []
    for one in sorted(out):
        if merged and one.began <= merged[-1].ended:
            merged[-1] = Interval(merged[-1].began, max(merged[-1].ended, one.ended))
        else:
            merged.append(one)
    return max(0.0, ended - began - sum(one.overlap(began, ended) for one in merged))


def _passes_in_vain(sight: Sight) -> bool:
    return sight.health == PASS and not sight.main


def _vain(sight: Sight) -> bool:
    return bool(ALL_SERVE.match(sight.headline)) and not sight.main


def _claims(slot: int) -> Callable[[Sight], bool]:
    def contradicts(sight: Sight) -> bool:
        """A worker of which the headline tells something else is not claimed to serve."""
        doubted = f"worker {slot}" in sight.headline or "; the bus " in sight.headline
        return sight.states.get(slot) == "serving" and not doubted and not sight.own[slot]

    return contradicts


def _tells(slot: int) -> Callable[[Sight], bool]:
    return lambda sight: bool(ALL_SERVE.match(sight.told)) and not sight.own[slot]


def _fails_in_vain(sight: Sight) -> bool:
    return sight.health == FAIL and sight.main


def _mute(sight: Sight) -> bool:
    return sight.health == NOTHING and sight.main


def _shows_nothing(sight: Sight) -> bool:
    return sight.headline == NOTHING and sight.main


def _warns(sight: Sight) -> bool:
    return sight.health == WARN and REMARK not in sight.headline


def _unwell(words: str) -> bool:
    return bool(UNWELL.match(words))


def _disagree(sight: Sight) -> bool:
    if not sight.headline:
        return False
    return bool(ALL_SERVE.match(sight.headline)) != bool(ALL_SERVE.match(sight.told))

"""The keys of `status --watch`: what each asks, and what an answer has done. Pure."""

from typing import Any, NamedTuple

HELP = "r restart a worker   s its stacks   p pause or resume   + - scale   Ctrl-C end"
ENTER, ERASE = frozenset("\r\n"), frozenset("\x7f\b")
OF_A_WORKER = {
    "r": ("restart", "restart which worker?"),
    "s": ("report", "stacks of which worker?"),
}
STEPS = {"+": 1, "-": -1}


class Action(NamedTuple):
    """What is to be done.

    :ivar name: restart, report, scale, pause or resume. :ivar number: of a slot or of workers.
    """

    name: str
    number: int | None = None


class Keys:
    """Each key asks once: for the number of a worker, which Enter ends, or for a y."""

    def __init__(self) -> None:
        self._action: Action | None = None  # that waits for the answer
        self._question = ""
        self._typed: str | None = None  # of a number; None: a y is asked for
        self._remark = ""

    @property
    def line(self) -> str:
        """What is shown below the table."""
        if self._action is None:
            return f"{self._remark}   {HELP}" if self._remark else HELP
        hint = "(Enter; Esc: none)" if self._typed is not None else "(y; any other key: no)"
        return f"{self._question} {self._typed or ''} {hint}"

    def press(self, key: str, answer: dict[str, Any] | None) -> Action | None:
        """Take a key; return what is to be done now.

        :param answer: of GET /status; None: there is none just now.
        """
        self._remark = ""
        if self._action is None:
            if answer is not None:
                self._ask(key, answer)
            return None
        if self._typed is None:
            return self._end(self._action if key in {"y", "Y"} else None)
        return self._type(key, self._action, self._typed, answer)

    def _ask(self, key: str, answer: dict[str, Any]) -> None:
        if key in OF_A_WORKER:
            name, self._question = OF_A_WORKER[key]
            self._action, self._typed = Action(name), ""
        elif key == "p":
            name = "resume" if answer.get("paused") else "pause"
            self._action, self._question = Action(name), f"{name} all workers?"
        elif key in STEPS and (wanted := answer.get("workers_wanted")):  # 0.1.0 does not tell it
            self._ask_scale(wanted + STEPS[key])

    def _ask_scale(self, number: int) -> None:
        if number:
            self._action = Action("scale", number)
            self._question = f"scale to {number} workers?"

    def _type(
        self, key: str, action: Action, typed: str, answer: dict[str, Any] | None
    ) -> Action | None:
        if key.isdecimal() and len(typed) < 4:
            self._typed = typed + key
        elif key in ERASE:
            self._typed = typed[:-1]
        elif key not in ENTER or not typed:
            return self._end(None)
        elif int(typed) not in {one["slot"] for one in (answer or {}).get("workers", ())}:
            self._end(None)
            self._remark = f"there is no worker {typed}."
        else:
            return self._end(action._replace(number=int(typed)))
        return None

    def _end(self, action: Action | None) -> Action | None:
        self._action = self._typed = None
        return action

"""Why a call got no answer: judged by the master's status or, without it, by a ping."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from oslo_config import cfg

from launcher.cli import bus_client
from launcher.cli.control_client import ControlClient
from launcher.deadline import within
from launcher.errors import LauncherError

STATUS_SECONDS = 2.0
PING_SECONDS = 3.0


def explain(conf: cfg.ConfigOpts, worker: int | None) -> str:
    """Return the reason as a sentence, or "" if neither the master nor a ping answers.

    :param worker: the slot that was called; None: any.
    """
    found = _status(conf)
    if found is not None:
        return judge(found, worker)
    if not _answers(partial(bus_client.ping_anybody, conf, PING_SECONDS)):
        return ""
    if worker is not None:
        return f"the service answers, but not its worker {worker}; is there one?"
    return "the service answers a ping; this call may need a longer --timeout"


def judge(found: dict[str, Any], worker: int | None) -> str:
    """The reason, by the master's answer to GET /status. Pure."""
    headline, workers = found["headline"], found["workers"]
    if worker is not None:
        named = [one for one in workers if one["slot"] == worker]
        if not named:
            return f"there is no worker {worker}: the service has {len(workers)}, from 0 on"
        if named[0]["state"] != "serving":
            return f"worker {worker} is {named[0]['state']} ({headline})"
    if headline.startswith("draining"):
        return f"the service stops ({headline})"
    if not any(one["state"] == "serving" for one in workers):
        return f"no worker serves ({headline})"
    if all(one.get("paused") for one in workers if one["state"] == "serving"):
        return f"the service is paused, and the call waits until 'resume' ({headline})"
    return f"the service runs ({headline}); this call may need a longer --timeout"


def _status(conf: cfg.ConfigOpts) -> dict[str, Any] | None:
    """The status of the service that was called; None if it runs elsewhere or does not answer."""
    master = ControlClient(conf.prog, Path(conf.runtime_path))
    try:
        code, answer = master.ask("GET", "/status", timeout=STATUS_SECONDS)
    except LauncherError:  # not there, or not for this user: ask the bus next
        return None
    return answer if code == 200 and answer.get("host") == conf.host else None


def _answers(ping: Callable[[], object]) -> bool:
    """Whether a ping is answered in time. oslo.messaging itself may exceed its timeout while a
    broker cannot be reached."""
    try:
        within(PING_SECONDS, ping, TimeoutError)
    except Exception:  # noqa: BLE001  # any error means: no answer
        return False
    return True

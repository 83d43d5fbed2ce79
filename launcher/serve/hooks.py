"""Calls hooks and periodic tasks of a manager, in the master or a worker."""

from collections.abc import Callable
from typing import Any

from launcher.rpc_results import refuse_promise
from launcher.serve.forked_children import ChildrenEndHere


def call_hook(method: Callable[..., Any], *args: Any, name: str) -> None:
    """Call a hook or task. A child that it forks ends here.

    :param name: of the hook or task, for the log.
    :raises TypeError: it returned a coroutine or generator; see `rpc_results.refuse_promise`.
    """
    with ChildrenEndHere(name):
        result = method(*args)
    refuse_promise(result, name)

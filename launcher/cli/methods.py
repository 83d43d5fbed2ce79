"""`methods`: what clients can call, by the class of the configured manager.

No service has to run. Endpoints that a manager adds in its constructor are not listed: only its
workers know them.
"""

import argparse
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

from oslo_config import cfg

from launcher.cli.output import print_block, print_json, print_line
from launcher.serve import loading, rpc
from launcher.serve.base_rpcapi import BaseRPCAPI


def show(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Print the methods as text, as JSON, or their names alone."""
    manager = loading.manager_class(conf.manager, conf.prog)
    found = [*describe(manager), *describe(BaseRPCAPI)]
    if args.json:
        print_json(found)
    elif args.names:
        for one in found:
            print_line(one["name"])
    else:
        print_block("\n".join(line for one in found for line in _lines(one)))
    return 0


def describe(endpoint: type) -> Iterator[dict[str, Any]]:
    """Each exposed method of an endpoint's class, sorted by name. Runs no code of the class.

    A name is in the form that `call` takes, with the namespace in front.
    """
    target = getattr(endpoint, "target", None)
    namespace = getattr(target, "namespace", None)
    for name in sorted(dir(endpoint)):
        method = inspect.getattr_static(endpoint, name)
        bound = isinstance(method, staticmethod)
        function = getattr(method, "__func__", method)
        if not getattr(function, "exposed", False):
            continue
        yield {
            "name": f"{namespace}.{name}" if namespace else name,
            "version": getattr(target, "version", None) or "1.0",
            "arguments": list(_arguments(function, own=1 if bound else 2)),
            "idempotent": rpc.is_idempotent(function),
            "doc": inspect.cleandoc(getattr(function, "__doc__", None) or ""),
        }


def _arguments(function: Any, own: int) -> Iterator[dict[str, Any]]:
    """The arguments that a client gives.

    :param own: number of arguments before those: self, and the context.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a method in C may have no signature
        return
    for parameter in list(signature.parameters.values())[own:]:
        open_ended = parameter.kind in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL}
        yield {
            "name": parameter.name,
            "required": parameter.default is parameter.empty and not open_ended,
            "shown": str(parameter),
        }


def _lines(method: dict[str, Any]) -> Iterator[str]:
    arguments = ", ".join(one["shown"] for one in method["arguments"])
    mark = "  idempotent" if method["idempotent"] else ""
    yield f"{method['name']}({arguments}){mark}"
    if method["doc"]:
        yield textwrap.indent(method["doc"], "    ")

"""Options that a library registers only when it knows the configuration.

Another option says which options of credentials there are, and functions of keystoneauth and
oslo.limit read that one. Modules call these functions when they are imported. The master has not
read the program's configuration: it keeps the calls, and each worker makes them when it has.
"""

import importlib
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

FUNCTIONS = (  # public ones; the first argument is the configuration
    ("keystoneauth1.loading", "register_auth_conf_options"),
    ("oslo_limit.opts", "register_opts"),
)


class LateOptions:
    """One a program, made in the master. Each worker has a copy."""

    def __init__(self) -> None:
        self._calls: list[tuple[Any, Callable[[], object]]] = []

    @contextmanager
    def kept(self, names: Collection[str]) -> Iterator[None]:
        """Keep the calls of the block. Called in the master, or in a child that tries imports.

        :param names: modules that the block imports.
        """
        with ExitStack() as stack:
            for module, name in FUNCTIONS:
                if module in sys.modules or module in names:
                    with suppress(Exception, SystemExit):  # then it is skipped, as the others are
                        library = importlib.import_module(module)
                        function = getattr(library, name)
                        setattr(library, name, partial(self._keep, function))
                        stack.callback(setattr, library, name, function)
            yield

    def _keep(
        self, function: Callable[..., object], conf: Any, *args: Any, **options: Any
    ) -> None:
        self._calls.append((conf, partial(function, conf, *args, **options)))

    @contextmanager
    def registered(self) -> Iterator[None]:
        """Make the calls after each reading of the configuration in the block, and now: a program
        may have read it when it was imported. Called in a worker.

        :raises Exception: what the library raises of a configuration that is wrong.
        """
        from oslo_config import cfg  # noqa: PLC0415  # after the program

        options: Any = cfg.ConfigOpts
        read = options.__call__

        def read_and_register(conf: Any, *args: Any, **given: Any) -> Any:
            found = read(conf, *args, **given)
            for _, register in filter(lambda call: call[0] is conf, self._calls):
                register()
            return found

        for _, register in self._calls:
            register()
        options.__call__ = read_and_register
        try:
            yield
        finally:
            options.__call__ = read

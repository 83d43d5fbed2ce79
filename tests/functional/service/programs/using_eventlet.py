"""A program on native threads that imports eventlet, by itself and by a part of oslo.service, and
refuses that anybody has it patch Python."""

from typing import NoReturn

import eventlet
from oslo_service import wsgi

from tests.functional.service.programs.oslo_program import main

PARTS = (eventlet.sleep, wsgi.Server)
__all__ = ["main"]


def _refuse(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("this program runs on native threads")


eventlet.monkey_patch = eventlet.patcher.monkey_patch = _refuse

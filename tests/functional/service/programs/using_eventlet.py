"""A program on native threads that imports eventlet, by itself and by a part of oslo.service."""

import eventlet
from oslo_service import wsgi

from tests.functional.service.programs.oslo_program import main

PARTS = (eventlet.sleep, wsgi.Server)
__all__ = ["main"]

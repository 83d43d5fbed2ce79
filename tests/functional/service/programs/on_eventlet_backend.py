"""A program that chooses the backend of oslo.service, when it is imported."""

from oslo_service import backend

backend.init_backend(backend.BackendType.EVENTLET)


def main() -> None:
    """The console script."""

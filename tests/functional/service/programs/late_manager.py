"""A module that a program imports in main(): it keeps the class of cotyledon's manager."""

from typing import Any

from cotyledon import ServiceManager

from tests.functional.service.programs import cotyledon_program


class Manager(ServiceManager):
    """With its own hooks."""

    def __init__(self, made: list[int]) -> None:
        super().__init__(wait_interval=0.1, graceful_shutdown_timeout=5)
        self.register_hooks(on_new_worker=lambda _, number, service: made.append(number))

    def serve(self, conf: Any) -> None:
        """Add the service, and wait."""
        self.add(cotyledon_program.Service, workers=conf.workers, args=(conf,))
        self.run()

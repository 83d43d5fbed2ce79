"""Checks in the master before the first fork: a start that cannot succeed fails here.

All workers share the modules that are imported here.
"""

from pathlib import Path

from oslo_config import cfg

from launcher.directories import paths
from launcher.serve import loading
from launcher.serve.settings import Settings


def prepare(conf: cfg.ConfigOpts, binary: str) -> None:
    """Called in the main thread, before the first fork. It leaves no descriptor open.

    :raises LauncherError: says what is wrong, and what to do.
    """
    paths.prepare("state_path", Path(conf.state_path))
    paths.prepare("runtime_path", Path(conf.runtime_path))
    paths.check_socket_room("runtime_path", Path(conf.runtime_path))
    paths.prepare_temporary()
    manager = loading.manager_class(conf.manager, binary)
    loading.check_use_of_conductor(conf, manager)
    loading.preload(conf)
    loading.check_bus(conf)
    loading.preload_manager(manager, conf.state_path)
    if not conf.database.use_conductor:
        from launcher.registry import warmup  # noqa: PLC0415  # imports SQLAlchemy

        warmup.warm_up(conf.database.connection)
    Settings.fill_in(conf, manager=manager)  # oslo.config caches the values

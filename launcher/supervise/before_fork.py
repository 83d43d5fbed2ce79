"""Checks in the master before the first fork: a start that cannot succeed fails here."""

from pathlib import Path

from oslo_config import cfg

from launcher.directories import paths
from launcher.serve.application import Application


def prepare(conf: cfg.ConfigOpts, application: Application) -> None:
    """Called in the main thread, before the first fork. It leaves no descriptor open.

    :raises LauncherError: says what is wrong, and what to do.
    """
    runtime_path = _with_source(conf, "runtime_path")
    paths.prepare(_with_source(conf, "state_path"), Path(conf.state_path))
    paths.prepare(runtime_path, Path(conf.runtime_path))
    paths.check_socket_room(runtime_path, Path(conf.runtime_path))
    paths.prepare_temporary()
    application.prepare()


def _with_source(conf: cfg.ConfigOpts, option: str) -> str:
    """The option's name, and the file or variable that sets it, if one does."""
    found = conf.get_location(option)
    if found is not None and found.location.is_user_controlled and found.detail:
        return f"{option} in {found.detail}"
    return option

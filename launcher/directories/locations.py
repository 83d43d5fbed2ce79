"""Where the directories for state and runtime files are by default, the socket in the latter, and
the configuration of a distribution's package.

A probe needs this and little else: this module imports what is small. Paths are texts, since
pathlib is not.
"""

import os
from collections.abc import Mapping

CONTROL_SOCKET = "control.sock"  # of the master, in the runtime directory
SHIPPED = "/usr/share/{0}/{0}-dist.conf"


def binary_name(script: str) -> str:
    """The name of the service: the script's, or compute-launcher under `python -m launcher`."""
    name = script.rpartition("/")[2]
    return "compute-launcher" if name == "__main__.py" else name.removesuffix(".py")


def shipped_files(binary: str) -> list[str]:
    """The configuration file of a package, which the administrator's outranks: one or none."""
    return [path for path in [SHIPPED.format(binary)] if os.path.isfile(path)]  # noqa: PTH113


def state_path(environ: Mapping[str, str], binary: str) -> str:
    """The directory of files that outlive a restart: systemd's, else XDG's."""
    if given := environ.get("STATE_DIRECTORY"):
        return _ours(given, binary)
    if given := environ.get("XDG_STATE_HOME"):
        return f"{given.rstrip('/')}/{binary}"
    # For a user without a home the path stays relative, and is refused later.
    home = environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111  # Path.home() raises
    return f"{home}/.local/state/{binary}"


def runtime_path(environ: Mapping[str, str], binary: str) -> str:
    """The directory of locks and sockets: systemd's, else XDG's. A shell without a login session
    has neither. There root uses /run, as RuntimeDirectory= of a unit does."""
    if given := environ.get("RUNTIME_DIRECTORY"):
        return _ours(given, binary)
    if given := environ.get("XDG_RUNTIME_DIR"):
        return f"{given.rstrip('/')}/{binary}"
    if os.geteuid() == 0:
        return f"/run/{binary}"
    import tempfile  # noqa: PLC0415  # for this case only

    try:
        temporary = tempfile.gettempdir()
    except FileNotFoundError:  # none can be written; who wants to write there is told
        temporary = "/tmp"
    return f"{temporary}/{binary}-{os.geteuid()}"


def _ours(given: str, binary: str) -> str:
    """Of the directories of a unit, which systemd lists with colons: that with our name, else the
    first. The unit of a distribution has others for the program that we run."""
    paths = given.split(":")
    return next((path for path in paths if path.rpartition("/")[2] == binary), paths[0])

"""Optional profiling with osprofiler, if it is installed and `[profiler] enabled` is set."""

import logging
import os
from collections.abc import Container
from importlib.util import find_spec
from typing import Any

from oslo_config import cfg

LOG = logging.getLogger(__name__)

GROUP = "profiler"
VARIABLES = "OS_PROFILER__"  # prefix of environment variables that oslo.config reads


def register(conf: cfg.ConfigOpts, sections: Container[str]) -> None:
    """Register the [profiler] options, if the configuration has any of them. osprofiler imports
    webob, requests and urllib3: a fifth of all imports.

    Called in the master, before the first fork, and when the configuration was read again.

    :param sections: of the configuration files.
    """
    configured = GROUP in sections or any(name.startswith(VARIABLES) for name in os.environ)
    if not configured or find_spec("osprofiler") is None:
        return
    from osprofiler import opts  # noqa: PLC0415  # optional

    opts.set_defaults(conf)


def enabled(conf: cfg.ConfigOpts) -> bool:
    """Whether the profiler is installed and switched on."""
    return GROUP in conf and bool(conf[GROUP].enabled)


def setup(conf: cfg.ConfigOpts, binary: str, host: str) -> None:
    """Called in a worker: connect the profiler, if it is on."""
    if not enabled(conf):
        return
    from osprofiler import initializer  # noqa: PLC0415  # optional

    initializer.init_from_conf(
        conf=conf, context={}, project=binary.partition("-")[0], service=binary, host=host
    )
    LOG.info("osprofiler is on")


def traced(conf: cfg.ConfigOpts, endpoint: Any) -> Any:
    """Return the endpoint. If the profiler is on, it traces its public methods as "rpc"."""
    if enabled(conf):
        from osprofiler import profiler  # noqa: PLC0415  # optional

        profiler.trace_cls("rpc")(type(endpoint))
    return endpoint

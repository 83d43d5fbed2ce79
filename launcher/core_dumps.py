"""Core files: none by default, since they contain the passwords of the configuration."""

import logging
import resource

LOG = logging.getLogger(__name__)

# core(5): a limit of 1 also holds for a program after a pipe in core_pattern; 0 does not.
NONE = 1  # byte


def limit_core(*, wanted: bool) -> None:
    """Set the soft limit of this process and its later children: none, or up to the hard limit,
    which stays as it is."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    allows_one = hard == resource.RLIM_INFINITY or hard >= NONE
    soft = hard if wanted or not allows_one else NONE
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    except (OSError, ValueError) as error:  # ValueError: EPERM from a seccomp filter
        LOG.warning("the limit of core files cannot be set: %s", error)

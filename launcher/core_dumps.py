"""What a crash leaves: Python's stacks, and by default no core file, since that contains the
passwords of the configuration."""

import faulthandler
import logging
import resource
import sys

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


def show_stacks_of_crashes(descriptor: int) -> None:
    """Have this process and its children write the stacks of all threads when they die of a signal
    such as SIGSEGV or SIGABRT.

    Not the stack of C functions, which Python adds from 3.14 on: to find it takes locks. A child
    that a thread has forked may find them locked for ever, and then it does not die.

    :param descriptor: stays open until the end.
    """
    if sys.version_info >= (3, 14):
        faulthandler.enable(descriptor, c_stack=False)
    else:
        faulthandler.enable(descriptor)

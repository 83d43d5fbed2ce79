"""Detaches a process from memory that it shares since a fork.

Afterwards it has private, writable pages at the same addresses.
"""

import ctypes
import mmap
from collections.abc import Callable

MAP_FIXED = 0x10  # linux/mman.h: replaces an existing mapping
_FAILED = ctypes.c_void_p(-1).value


def detacher(memory: memoryview) -> Callable[[], None]:
    """Called before the fork; the result is called in the child.

    The result replaces the child's pages by empty private ones. It takes no lock and allocates no
    memory. It raises OSError if mmap fails.

    :param memory: the whole of an anonymous mmap.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    address = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    size = ctypes.c_size_t(memory.nbytes)
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED

    def detach() -> None:
        offset = ctypes.c_long(0)
        if libc.mmap(address, size, protection, flags, -1, offset) == _FAILED:
            raise OSError(ctypes.get_errno(), "mmap")

    return detach

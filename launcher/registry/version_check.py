"""What a registration checks, without one: whether other services need newer ones than a start."""

from launcher.errors import ServiceTooOld
from launcher.registry.interface import Registry


def check_versions_of_others(registry: Registry, host: str, binary: str, ours: int) -> None:
    """Raise ServiceTooOld as a registration would.

    :param ours: the service version of the service that is to be registered.
    :raises DatabaseUnavailable: the database cannot be reached.
    """
    if registry.newest_version() <= ours:  # cheap, and mostly so
        return
    for row in registry.list_services():
        if (row.host, row.binary) != (host, binary) and (row.oldest_version or 0) > ours:
            raise ServiceTooOld(
                binary=binary,
                host=host,
                ours=ours,
                needed=row.oldest_version,
                other=f"{row.binary} {row.version} on host {row.host}",
            )

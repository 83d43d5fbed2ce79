"""Converts rows of the tables into records, and back."""

from typing import Any

from sqlalchemy import Row

from launcher.registry.records import ComputeNode, ServiceRecord, ServiceState

_STATE = ServiceRecord._fields.index("state")


def to_service(row: Row[Any]) -> ServiceRecord:
    """The record of a row of `statements.SERVICES`."""
    values = list(row)
    values[_STATE] = ServiceState(values[_STATE])
    return ServiceRecord._make(values)  # public in spite of its name


def from_state(state: ServiceState) -> dict[str, str | None]:
    """The columns of a state: programs that need schema 0001 know `up`, `draining` and `down`."""
    if state in {ServiceState.DEGRADED, ServiceState.PAUSED}:
        return {"state": str(ServiceState.UP), "state_detail": str(state)}
    return {"state": str(state), "state_detail": None}


def to_node(row: Row[Any]) -> ComputeNode:
    """The record of a row of `compute_nodes`."""
    values = dict(row._mapping)  # public in spite of its name
    load = (values.pop("load_1m"), values.pop("load_5m"), values.pop("load_15m"))
    del values["id"], values["created_at"]
    return ComputeNode(**values, load_average=load)


def from_node(node: ComputeNode) -> dict[str, Any]:
    """The columns of `compute_nodes` that a record fills."""
    values = node._asdict()
    load_1m, load_5m, load_15m = values.pop("load_average")
    del values["updated_at"]
    return values | {"load_1m": load_1m, "load_5m": load_5m, "load_15m": load_15m}

"""Converts rows of the tables into records, and back."""

from typing import Any

from sqlalchemy import Row

from launcher.registry.records import ComputeNode, ServiceRecord, ServiceState


def to_service(row: Row[Any]) -> ServiceRecord:
    """The record of a row of `services`."""
    values = dict(row._mapping)  # public in spite of its name
    return ServiceRecord(**values | {"state": ServiceState(values["state"])})


def to_node(row: Row[Any]) -> ComputeNode:
    """The record of a row of `compute_nodes`."""
    values = dict(row._mapping)
    load = (values.pop("load_1m"), values.pop("load_5m"), values.pop("load_15m"))
    del values["id"], values["created_at"]
    return ComputeNode(**values, load_average=load)


def from_node(node: ComputeNode) -> dict[str, Any]:
    """The columns of `compute_nodes` that a record fills."""
    values = node._asdict()
    load_1m, load_5m, load_15m = values.pop("load_average")
    del values["updated_at"]
    return values | {"load_1m": load_1m, "load_5m": load_5m, "load_15m": load_15m}

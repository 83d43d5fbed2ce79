"""What clients can call in a worker: the manager, its additional endpoints, and the base API."""

import os
from typing import Any

import oslo_messaging
from oslo_config import cfg

from launcher.errors import ManagerUnfit
from launcher.rpc_results import Limits, double_encoded
from launcher.serve import profiling
from launcher.serve.base_rpcapi import BaseRPCAPI
from launcher.serve.calls_in_hand import TrackedEndpoint, Tracker
from launcher.serve.manager import Manager
from launcher.serve.manager_checks import fault_of_endpoint
from launcher.serve.rpc import speaks_amqp
from launcher.serve.settings import Settings
from launcher.unixbus.driver_options import read_settings


def make_endpoints(
    conf: cfg.ConfigOpts, manager: Manager, tracker: Tracker, base_api: BaseRPCAPI
) -> list[object]:
    """Make the endpoints of a worker's servers, the manager first. Calls of all but `base_api` are
    tracked and, if the profiler is on, traced.

    :raises ManagerUnfit: an additional endpoint has an exposed method that cannot be called.
    """
    for endpoint in manager.additional_endpoints:
        if fault := fault_of_endpoint(type(endpoint)):
            raise ManagerUnfit(name=type(manager).__name__, fault=fault)
    own = [manager, *manager.additional_endpoints]
    traced = [profiling.traced(conf, endpoint) for endpoint in own]
    limits = answer_limits(conf)
    return [*(TrackedEndpoint(endpoint, tracker, limits) for endpoint in traced), base_api]


def answer_limits(conf: Any) -> Limits:
    """The size of the largest answer that the configured bus takes."""
    if speaks_amqp(conf):
        return Limits(conf.rpc.max_answer_size, double_encoded)
    url = oslo_messaging.TransportURL.parse(conf)
    return Limits(read_settings(conf, url).max_message_size)


def identity(settings: Settings, slot: int, side: str = "") -> dict[str, Any]:
    """The fields with which a worker answers a ping. :param side: see `Board.side`."""
    return {
        "service": settings.topic,
        "host": settings.host,
        "slot": slot,
        "pid": os.getpid(),
        **({"side": side} if side else {}),
    }

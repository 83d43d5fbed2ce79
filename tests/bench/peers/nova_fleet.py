"""nova's own list of services and its own reports. Run by the Python of an environment that has
nova, and nothing of ours:

    nova_fleet.py URL fill N             make the table, and N services that are up
    nova_fleet.py URL list               list them, as the compute API does
    nova_fleet.py URL reports SECONDS    report without pause, as the servicegroup driver does

`list` and `reports` say on stderr what `tests.bench.peers.fleet` says.
"""

import os
import sys
import time

os.environ["OS_NOVA_DISABLE_EVENTLET_PATCHING"] = "1"  # native threads, as ours

from nova import config, context, objects, servicegroup
from nova.db.main import api, models
from oslo_utils import timeutils

BINARY = "nova-compute"
HOST = "compute-{:05}.cell-1.example"


def main(url: str, what: str, number: float = 0) -> None:
    config.parse_args(["nova"], default_config_files=[])
    config.CONF.set_override("connection", url, group="database")
    api.configure(config.CONF)
    objects.register_all()
    if what == "fill":
        fill(int(number))
    elif what == "list":
        show()
    else:
        reports(number)


def fill(number: int) -> None:
    engine = api.get_engine()
    models.BASE.metadata.create_all(engine, tables=[models.Service.__table__])
    now = timeutils.utcnow()
    common = {"binary": BINARY, "topic": "compute", "report_count": 1, "version": 60}
    common |= {"disabled": False, "last_seen_up": now, "created_at": now, "deleted": 0}
    rows = [{"host": HOST.format(one), "uuid": f"{one:036}", **common} for one in range(number)]
    with engine.begin() as connection:
        connection.execute(models.Service.__table__.insert(), rows)


def show() -> None:
    began = time.process_time()
    group = servicegroup.API()
    for one in objects.ServiceList.get_all(context.get_admin_context()):
        state = "up" if group.service_is_up(one) else "down"
        status = "disabled" if one.disabled else "enabled"
        shown = (one.id, one.binary, one.host, status, state, one.updated_at, one.forced_down)
        sys.stdout.write(" ".join(map(str, shown)) + "\n")
    sys.stderr.write(f"{time.process_time() - began}\n")


def reports(seconds: float) -> None:
    row = objects.Service.get_by_host_and_binary(
        context.get_admin_context(), HOST.format(0), BINARY
    )
    row.report_count += 1
    row.save()  # connects
    number, began, cpu = 0, time.monotonic(), time.process_time()
    while time.monotonic() < began + seconds:
        row.report_count += 1
        row.save()
        number += 1
    took, cpu = time.monotonic() - began, time.process_time() - cpu
    sys.stderr.write(f"{number / took} {cpu / number}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(float, sys.argv[3:]))

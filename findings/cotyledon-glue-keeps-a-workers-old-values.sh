#!/bin/sh
# cotyledon 2.2.0's oslo_config_glue reads the configuration anew in the master when SIGHUP comes,
# and defines a function that does so in the workers, but never installs that one. A worker without
# a reload() of its own is replaced, and its successor has the new values. A worker with one, which
# is what it is for, sees the old values in it, and for the rest of its life.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install cotyledon==2.2.0 oslo.config==10.7.0
cat >"$folder/try.py" <<'END'
import os
import signal
import sys
import threading
import time

import cotyledon
from cotyledon import oslo_config_glue
from oslo_config import cfg

path, how = sys.argv[1:]


def write(colour):
    with open(path, "w") as file:
        file.write(f"[DEFAULT]\ncolour = {colour}\n")


write("red")
conf = cfg.ConfigOpts()
conf.register_opts([cfg.StrOpt("colour", mutable=True)])
conf(["--config-file", path], project="try")
master = os.getpid()


class Worker(cotyledon.Service):
    def run(self):
        print(f"{how}: run() sees {conf.colour}", flush=True)
        if conf.colour == "red":
            write("blue")
            os.kill(master, signal.SIGHUP)
        else:
            os.kill(master, signal.SIGTERM)
        threading.Event().wait()


class Reloading(Worker):
    def reload(self):
        print(f"{how}: reload() sees {conf.colour}", flush=True)
        os.kill(master, signal.SIGTERM)


def look_at_the_master():
    end = time.monotonic() + 30
    while conf.colour == "red" and time.monotonic() < end:
        time.sleep(0.01)
    print(f"{how}: the master sees {conf.colour}", flush=True)


manager = cotyledon.ServiceManager()
oslo_config_glue.setup(manager, conf)
manager.add(Reloading if how == "with reload" else Worker, workers=1)
threading.Thread(target=look_at_the_master, daemon=True).start()
manager.run()
END
for how in "with reload" "without"; do
    "$folder/venv/bin/python" -W ignore "$folder/try.py" "$folder/conf" "$how"
done | sort >"$folder/said"
cat >"$folder/expected" <<'END'
with reload: reload() sees red
with reload: run() sees red
with reload: the master sees blue
without: run() sees blue
without: run() sees red
without: the master sees blue
END
cat "$folder/said"
diff "$folder/expected" "$folder/said"

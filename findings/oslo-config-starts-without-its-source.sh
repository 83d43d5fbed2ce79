#!/bin/sh
# oslo.config 10.7.0: a file that was named and is missing ends the program with
# ConfigFilesNotFoundError. A source that was named (config_source) and is away does not: its server
# answers 503, or its group has no driver, or one that there is none of. The program starts, and each
# option of that source, such as a transport_url, has its default. An error is logged, but at that
# time a service has not set up its log yet. (The driver's documentation says that it needs `uri`.)
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install oslo.config==10.7.0
cat >"$folder/try.py" <<'TRY'
import http.server
import logging
import sys
import threading

from oslo_config import cfg

logging.disable()
status = 200


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"[DEFAULT]\ntransport_url = rabbit://\n")

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()


def start(what, text, arguments=()):
    with open(sys.argv[1], "w") as file:
        file.write(f"[DEFAULT]\nconfig_source = central\n[central]\n{text}\n")
    conf = cfg.ConfigOpts()
    conf.register_opts([cfg.StrOpt("transport_url", default="the default")])
    try:
        conf(list(arguments), default_config_files=[sys.argv[1]])
        print(f"{what}:", conf.transport_url)
    except cfg.Error as error:
        print(f"{what}:", type(error).__name__)


uri = f"uri = http://127.0.0.1:{server.server_port}/all.conf\n"
start("the source answers", uri + "driver = remote_file")
start("a file is missing", uri, ["--config-file", sys.argv[1] + ".missing"])
status = 503
start("the source is away", uri + "driver = remote_file")
status = 200
start("no driver", uri)
start("another driver", uri + "driver = remote-file")
TRY
"$folder/venv/bin/python" -W ignore "$folder/try.py" "$folder/conf" >"$folder/said"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
the source answers: rabbit://
a file is missing: ConfigFilesNotFoundError
the source is away: the default
no driver: the default
another driver: the default
SAID

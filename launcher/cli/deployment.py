"""`config show --for`: probes and time limits for what runs the service, by the options in force.

The texts are fragments, to be put into a drop-in, a pod, a role of kolla-ansible or a layer.
"""

import json
import math
import shlex
from collections.abc import Callable, Sequence
from typing import NamedTuple

from oslo_config import cfg

WAITING_STEPS = 6  # of a start: each may take start_timeout, for instance until the bus answers
END_SECONDS = 15  # after the drain: kill what is left, end its children, leave the database
ENDLESS_SECONDS = 86400  # in place of "no limit", which most platforms do not have
PROBE_SECONDS = 5  # for a probe to end; a command has to start Python
STARTS = 20  # StartLimitBurst of our unit
EVERYWHERE = {"0.0.0.0", "[::]"}  # compared, not bound
FILE_SECONDS = 30  # age of the touch_file at which the master counts as dead


class Facts(NamedTuple):
    """What the texts are made of. Times are in seconds.

    :ivar command: what runs the service, without a command of ours.
    :ivar drain: 0: no limit. :ivar listen: address of the probes, or "".
    """

    binary: str
    command: Sequence[str]
    start: int
    drain: int
    listen: str
    touch_file: str

    @property
    def start_limit(self) -> int:
        """The longest start."""
        return WAITING_STEPS * self.start

    @property
    def stop_limit(self) -> int:
        """The longest stop."""
        return (self.drain or ENDLESS_SECONDS) + END_SECONDS

    @property
    def why_stop(self) -> str:
        """A remark on `stop_limit`."""
        if self.drain:
            return f"graceful_shutdown_timeout, {self.drain} s, and {END_SECONDS} s to end"
        return "graceful_shutdown_timeout is 0, no limit; here a day"


def text(platform: str, conf: cfg.ConfigOpts, config_args: Sequence[str]) -> str:
    """Return the text for a platform. Pure.

    :param config_args: `--config-file=…` and `--config-dir=…`.
    """
    facts = Facts(
        binary=conf.prog,
        command=[conf.prog, *config_args],
        start=conf.start_timeout,
        drain=conf.graceful_shutdown_timeout,
        listen=conf.health.listen or "",
        touch_file=conf.health.touch_file or "",
    )
    return TEXTS[platform](facts).rstrip("\n")


def _systemd(facts: Facts) -> str:
    interval = min(600, STARTS * facts.start)
    drain = f"{facts.drain} s" if facts.drain else "no limit"
    return f"""\
# A drop-in: systemctl edit {facts.binary}
[Unit]
# {STARTS} starts that fail within this time leave the unit failed. A broker that is away does not.
StartLimitIntervalSec={interval}
StartLimitBurst={STARTS}

[Service]
Type=notify
NotifyAccess=main
# The master extends it while steps advance. Each may take start_timeout, {facts.start} s.
TimeoutStartSec={facts.start + 30}
# The master extends it in a drain, up to graceful_shutdown_timeout: {drain}.
TimeoutStopSec=30
WatchdogSec=30
TimeoutAbortSec=10
KillMode=mixed
Restart=always
RestartPreventExitStatus=2 78
SuccessExitStatus=SIGTERM
"""


def _kubernetes(facts: Facts) -> str:
    period = 5
    probes = "".join(
        f"""\
  {kind}Probe:
    {_kubernetes_action(facts, path, flag)}
    periodSeconds: {period if kind == "startup" else 10}
    timeoutSeconds: {PROBE_SECONDS}
    failureThreshold: {threshold}{remark}
"""
        for kind, path, flag, threshold, remark in (
            (
                "startup",
                "startupz",
                "--started",
                math.ceil(facts.start_limit / period),
                f"  # {WAITING_STEPS} times start_timeout; a start that hangs ends by itself",
            ),
            ("liveness", "livez", "--live", 3, ""),
            ("readiness", "readyz", "--ready", 1, ""),
        )
    )
    return f"""\
# In the spec of a pod.
terminationGracePeriodSeconds: {facts.stop_limit}  # {facts.why_stop}
containers:
- name: {_quoted(facts.binary)}
  command: {_quoted(facts.command)}
{probes}"""


def _kubernetes_action(facts: Facts, path: str, flag: str) -> str:
    host, _, port = facts.listen.rpartition(":")
    if not host or host.startswith(("127.", "[::1]")):  # the kubelet is outside of the pod
        return f"exec: {{command: {_quoted(_health(facts, flag))}}}"
    where = "" if host in EVERYWHERE else f", host: {_quoted(host.strip('[]'))}"
    return f"httpGet: {{path: /{path}, port: {port}{where}}}"


def _kolla(facts: Facts) -> str:
    if facts.touch_file:
        test = f"healthcheck_filemod {shlex.quote(facts.touch_file)} {FILE_SECONDS}"
    else:
        test = shlex.join(_health(facts, "--live"))
    return f"""\
# In globals.yml: {facts.why_stop}.
docker_graceful_timeout: {facts.stop_limit}
# In the service of a role.
healthcheck:
  interval: "30"
  retries: "3"
  start_period: {_quoted(str(facts.start))}
  test: {_quoted(["CMD-SHELL", test])}
  timeout: "{PROBE_SECONDS}"
"""


def _pebble(facts: Facts) -> str:
    checks = "".join(
        f"""\
  {facts.binary}-{level}:
    override: replace
    level: {level}
    period: 10s
    timeout: {PROBE_SECONDS}s
    threshold: {threshold}
    {_pebble_action(facts, path, flag)}
"""
        for level, path, flag, threshold in (
            ("alive", "livez", "--live", 3),
            ("ready", "readyz", "--ready", 1),
        )
    )
    return f"""\
# A layer.
services:
  {facts.binary}:
    override: replace
    command: {_quoted(shlex.join(facts.command))}
    startup: enabled
    kill-delay: {facts.stop_limit}s  # {facts.why_stop}
    on-check-failure:
      {facts.binary}-alive: restart
checks:
{checks}"""


def _pebble_action(facts: Facts, path: str, flag: str) -> str:
    host, _, port = facts.listen.rpartition(":")
    if not host:
        return f"exec: {{command: {_quoted(shlex.join(_health(facts, flag)))}}}"
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # compared, not bound
    return f"http: {{url: {_quoted(f'http://{host}:{port}/{path}')}}}"


def _health(facts: Facts, flag: str) -> list[str]:
    """The command of a probe. Options of the configuration stand last, for the short way."""
    binary, *config_args = facts.command
    return [binary, "health", flag, *config_args]


def _quoted(value: object) -> str:
    """As YAML, of which JSON is a part."""
    return json.dumps(value, ensure_ascii=False)


TEXTS: dict[str, Callable[[Facts], str]] = {
    "systemd": _systemd,
    "kubernetes": _kubernetes,
    "kolla": _kolla,
    "pebble": _pebble,
}

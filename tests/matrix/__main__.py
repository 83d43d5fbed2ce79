"""`make matrix`: the suites on bare Debians; writes their lines in RESULTS.md anew.

Arguments: roots and suites; all of them where none is named.
"""

import os
import shutil
import subprocess
import sys

from tests.matrix.results import Outcome, write
from tests.matrix.roots import CHECKOUT, DEBIANS, LOGS, Root, fresh, say

HERE = "/srv/compute-launcher"  # the clone inside
HOME = "/home/newcomer"
INSTALL = "apt-get --yes --no-install-recommends install"
NEWCOMER_SECONDS = 900
TESTS_SECONDS = 3 * 3600
# By the words that name them here: the suites whose results each writes.
TESTS = {
    "test": ("unit", "functional", "systemd"),
    "unit": ("unit",),
    "functional": ("functional",),
    "systemd": ("systemd",),
}
RUNS = {"run-root": "make run, root", "run-user": "make run, a user"}
ALL = ("run-root", "run-user", "test")
VERSIONS = r"""
. /etc/os-release
echo "$PRETTY_NAME, version $(cat /etc/debian_version)"
python3 --version
systemctl --version 2>/dev/null | sed -n '1s/ (.*//p'
dpkg-query --show --showformat='${binary:Package} ${Version}\n' rabbitmq-server postgresql \
    mariadb-server-core pgbouncer 2>/dev/null
echo "Linux $(uname -r | cut -d- -f1)"
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then echo 'control groups v2'
else echo 'control groups v1'; fi
"""


def main(words: list[str]) -> int:
    """0: nothing failed; 1: something did; 2: a word is neither a root nor a suite."""
    if unknown := set(words) - {*DEBIANS, *RUNS, *TESTS}:
        known = ", ".join([*DEBIANS, *RUNS, *TESTS])
        say(f"neither a root nor a suite: {', '.join(sorted(unknown))}; known are {known}")
        return 2
    if os.geteuid() != 0:
        say("roots are made by root: sudo make matrix")
        return 1
    commit = git("rev-parse", "--short", "HEAD")
    suites = [word for word in words if word not in DEBIANS] or list(ALL)
    good = True
    for name in [word for word in words if word in DEBIANS] or list(DEBIANS):
        for suite in suites:
            with fresh(name) as root:
                outcomes = newcomer(root, suite) if suite in RUNS else tests(root, suite)
                found = "" if suite in RUNS else root.out(VERSIONS)  # that has no packages
            versions = ", ".join(found.splitlines())
            write(name, commit, versions, outcomes)
            good = good and not any(one.failed for one in outcomes)
    return 0 if good else 1


def newcomer(root: Root, suite: str) -> list[Outcome]:
    """`make run` as root of a bare machine, or as a user for whom root has installed venv."""
    place, before = HERE, ""
    if suite == "run-user":
        root.run(f"apt-get update && {INSTALL} python3-venv && useradd --create-home newcomer")
        place = f"{HOME}/compute-launcher"
        before = f"setpriv --reuid=newcomer --regid=newcomer --init-groups env HOME={HOME}"
    root.clone(place, "newcomer" if before else "")
    command = f"cd {place} && {before} python3 -B tests/matrix/newcomer.py"
    seconds, status = root.timed(command, suite, NEWCOMER_SECONDS)
    failed = [f"ended with {status}"] if status else []
    return [Outcome(RUNS[suite], int(not failed), failed, 0, seconds)]


def tests(root: Root, target: str) -> list[Outcome]:
    """A target of make; each suite of it that has written no results has failed."""
    root.clone(HERE)
    reports = root.path / HERE[1:] / ".junit"
    command = f"cd {HERE} && CI=true make {target} JUNIT=.junit"  # with CI a skip is a failure
    root.timed(command, target, TESTS_SECONDS)
    for report in reports.glob("*.xml"):
        shutil.copy(report, LOGS / root.name)
    return [Outcome.of_junit(suite, reports / f"{suite}.xml") for suite in TESTS[target]]


def git(*words: str) -> str:
    """What it prints about this checkout."""
    done = subprocess.run(
        ["git", *words], cwd=CHECKOUT, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

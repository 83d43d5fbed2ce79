#!/bin/sh
# systemd 252: a unit that is stopped while its ExecReload runs is "failed" afterwards, with result
# "signal", though its main process ended well. systemd ends the command of the reload itself, with
# the SIGTERM that systemd.service(5) counts as a good end of the main process, and calls that a
# failure of the unit: `systemctl --failed` lists it, and OnFailure= raises an alarm for a stop that
# somebody asked for. A reload that waits until the service has reloaded, as the manual wants it,
# makes that likely.
# Boots a systemd on an overlay of / that keeps nothing. Needs root and the Debian package
# systemd-container.
set -eu
folder=$(mktemp -d)
groups=/sys/fs/cgroup
[ ! -d "$groups/unified" ] || groups=$groups/unified
trap 'rm -rf "$folder"; find /sys/fs/cgroup -depth -type d -path "*/finding-$$*" -exec rmdir {} +' EXIT
cat >"$folder/boot.sh" <<'BOOT'
set -eu
mkdir "$2"
echo 0 >"$2/cgroup.procs"
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /run/try/upper/etc/systemd/system /run/try/work /run/try/root
: >/run/try/upper/etc/machine-id
cp "$1/reloads.service" "$1/try.service" /run/try/upper/etc/systemd/system
cp "$1/try.sh" /run/try/upper
mount -t overlay -o lowerdir=/,upperdir=/run/try/upper,workdir=/run/try/work overlay /run/try/root
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --directory=/run/try/root --machine=try \
    --register=no --keep-unit --boot --console=pipe --private-network --link-journal=no \
    --resolv-conf=off --timezone=off systemd.unit=try.service </dev/null >"$1/console" 2>&1 || true
cp /run/try/upper/said "$1" || { cat "$1/console"; echo "it did not boot: are inotify instances left?"; }
BOOT
cat >"$folder/reloads.service" <<'UNIT'
[Unit]
DefaultDependencies=no
[Service]
ExecStart=/bin/sleep infinity
ExecReload=/bin/sleep 60
UNIT
cat >"$folder/try.service" <<'UNIT'
[Unit]
DefaultDependencies=no
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
TimeoutStartSec=120
ExecStart=/bin/sh -eu /try.sh
UNIT
cat >"$folder/try.sh" <<'TRY'
exec >/said
is() { systemctl show -P "$1" reloads.service; }
systemctl start reloads.service
systemctl stop reloads.service
echo "stopped: $(is ActiveState), $(is Result)"
systemctl start reloads.service
systemctl --no-block reload reloads.service
until [ "$(is ControlPID)" != 0 ]; do sleep 0.1; done
systemctl stop reloads.service
echo "stopped in a reload: $(is ActiveState), $(is Result)"
TRY
unshare --mount --pid --fork --kill-child --mount-proc --propagation=private \
    sh "$folder/boot.sh" "$folder" "$groups/finding-$$"
cat "$folder/said"
printf 'stopped: inactive, success\nstopped in a reload: failed, signal\n' | diff - "$folder/said"

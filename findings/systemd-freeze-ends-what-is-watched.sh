#!/bin/sh
# systemd 252: `systemctl freeze` of a unit with WatchdogSec= is its end. By systemctl(1) its
# processes are suspended until they are thawed. But the watchdog's time goes on, and who is frozen
# cannot ping: after WatchdogSec= systemd stops the unit as one that hangs. Then `systemctl thaw`
# refuses, since the unit is no longer active. With systemd 257 the watchdog waits, and a unit that
# is thawed goes on.
# Boots Debian 12 and 13 on an overlay that keeps nothing. Needs root and the Debian packages
# mmdebstrap and systemd-container.
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
cp "$1"/*.service /run/try/upper/etc/systemd/system
cp "$1/try.sh" /run/try/upper
mount -t overlay -o "lowerdir=$1/$3,upperdir=/run/try/upper,workdir=/run/try/work" overlay \
    /run/try/root
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --directory=/run/try/root --machine=try \
    --register=no --keep-unit --boot --console=pipe --private-network --link-journal=no \
    --resolv-conf=off --timezone=off systemd.unit=try.service </dev/null >"$1/console" 2>&1 || true
cat /run/try/upper/said || { cat "$1/console"; echo "it did not boot: are inotify instances left?"; }
BOOT
cat >"$folder/watched.service" <<'UNIT'
[Unit]
DefaultDependencies=no
[Service]
Type=notify
NotifyAccess=all
WatchdogSec=2
ExecStart=/bin/sh -c 'systemd-notify --ready; while systemd-notify WATCHDOG=1; do sleep 0.2; done'
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
is() { systemctl show -P "$1" watched.service; }
systemctl --version | sed 's/ (.*//; q'
systemctl start dbus.service watched.service
sleep 5
echo "running: $(is ActiveState), $(is Result)"
systemctl freeze watched.service
sleep 5
echo "frozen: $(is ActiveState), $(is Result)"
systemctl thaw watched.service && told=done || told=refused
sleep 5
echo "thaw: $told, $(is ActiveState), $(is Result)"
TRY
for suite in bookworm trixie; do
    mmdebstrap --quiet --variant=minbase --include=systemd-sysv,dbus "$suite" "$folder/$suite"
    unshare --mount --pid --fork --kill-child --mount-proc --propagation=private \
        sh "$folder/boot.sh" "$folder" "$groups/finding-$$-$suite" "$suite"
done >"$folder/seen"
cat "$folder/seen"
diff - "$folder/seen" <<'SAID'
systemd 252
running: active, success
frozen: deactivating, watchdog
thaw: refused, deactivating, watchdog
systemd 257
running: active, success
frozen: active, success
thaw: done, active, success
SAID

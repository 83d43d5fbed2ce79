#!/bin/sh
# systemd 252: a restart by hand that StartLimitBurst= refuses takes the service down.
# systemd.unit(5) says that starts by hand count, too, and that a unit past the limit is not
# permitted to start. A restart is a stop and a start, and only the second is refused: `systemctl
# restart` of a service that is well stops it and leaves it failed, and Restart=always brings it
# back no more. Nothing has ever failed here: so it goes with a deployment that restarts the unit
# for each of some changed files.
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
cp "$1/limited.service" "$1/try.service" /run/try/upper/etc/systemd/system
cp "$1/try.sh" /run/try/upper
mount -t overlay -o lowerdir=/,upperdir=/run/try/upper,workdir=/run/try/work overlay /run/try/root
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --directory=/run/try/root --machine=try \
    --register=no --keep-unit --boot --console=pipe --private-network --link-journal=no \
    --resolv-conf=off --timezone=off systemd.unit=try.service </dev/null >"$1/console" 2>&1 || true
cp /run/try/upper/said "$1" || { cat "$1/console"; echo "it did not boot: are inotify instances left?"; }
BOOT
cat >"$folder/limited.service" <<'UNIT'
[Unit]
DefaultDependencies=no
StartLimitBurst=3
StartLimitIntervalSec=1h
[Service]
Type=exec
Restart=always
ExecStart=/bin/sleep infinity
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
is() { systemctl show -P "$1" limited.service; }
systemctl start limited.service
for number in 1 2 3; do
    systemctl restart limited.service && told=done || told=refused
    echo "restart $number: $told, the service is $(is ActiveState), $(is Result)"
done
TRY
unshare --mount --pid --fork --kill-child --mount-proc --propagation=private \
    sh "$folder/boot.sh" "$folder" "$groups/finding-$$"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
restart 1: done, the service is active, success
restart 2: done, the service is active, success
restart 3: refused, the service is failed, start-limit-hit
SAID

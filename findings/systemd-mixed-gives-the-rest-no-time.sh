#!/bin/sh
# systemd 252: when the main process of a service with KillMode=mixed ends by itself, as in a crash,
# the rest of its processes gets SIGKILL at once, without a SIGTERM and without the time of
# TimeoutStopSec=, which systemd.service(5) promises a service for its stop before SIGKILL comes. With
# KillMode=control-group a worker has both. So the work of a master's workers is lost with the master,
# though they would need a second to hand it back.
# Boots a systemd on an overlay of / that keeps nothing. Needs root and the Debian package
# systemd-container.
set -eu
folder=$(mktemp -d)
groups=/sys/fs/cgroup
[ ! -d "$groups/unified" ] || groups=$groups/unified
trap 'rm -rf "$folder"; find "$groups" -depth -type d -path "*/finding-$$*" -exec rmdir {} +' EXIT
cat >"$folder/boot.sh" <<'BOOT'
set -eu
mkdir "$2"
echo 0 >"$2/cgroup.procs"
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /run/try/upper/etc/systemd/system /run/try/work /run/try/root
: >/run/try/upper/etc/machine-id
cp "$1"/*.service /run/try/upper/etc/systemd/system
cp "$1/main.sh" "$1/try.sh" /run/try/upper
mount -t overlay -o lowerdir=/,upperdir=/run/try/upper,workdir=/run/try/work overlay /run/try/root
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --directory=/run/try/root --machine=try \
    --register=no --keep-unit --boot --console=pipe --private-network --link-journal=no \
    --resolv-conf=off --timezone=off -- --unit=try.service </dev/null >"$1/console" 2>&1 || true
cp /run/try/upper/said "$1" || { cat "$1/console"; echo "it did not boot: are inotify instances left?"; }
BOOT
for mode in control-group mixed; do
    cat >"$folder/$mode.service" <<UNIT
[Unit]
DefaultDependencies=no
[Service]
KillMode=$mode
TimeoutStopSec=30
ExecStart=/bin/sh /main.sh $mode
UNIT
done
cat >"$folder/main.sh" <<'MAIN'
worker='trap "echo $0: a worker ends its work >>/said; exit" TERM; >/run/$0; while :; do sleep 0.1; done'
sh -c "$worker" "$1" &
until [ -e "/run/$1" ]; do sleep 0.1; done
exit 1
MAIN
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
for mode in control-group mixed; do
    began=$(date +%s)
    systemctl start "$mode.service"
    until [ "$(systemctl show -P ActiveState "$mode.service")" = failed ]; do sleep 0.1; done
    [ $(($(date +%s) - began)) -gt 20 ] || echo "$mode: the unit ends long before TimeoutStopSec" >>/said
done
TRY
unshare --mount --pid --fork --kill-child --mount-proc --propagation=private \
    sh "$folder/boot.sh" "$folder" "$groups/finding-$$"
cat "$folder/said"
diff - "$folder/said" <<'SAID'
control-group: a worker ends its work
control-group: the unit ends long before TimeoutStopSec
mixed: the unit ends long before TimeoutStopSec
SAID

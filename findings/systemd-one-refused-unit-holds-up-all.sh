#!/bin/sh
# systemd 262: `systemctl stop` of several units stops none, if one of them cannot be loaded.
# Up to 261 systemctl asks for one job a unit: it complains about the unit that cannot be loaded,
# ends with status 5, and has stopped all others. 262 asks for all jobs at once (EnqueueUnitJobMany,
# in its NEWS), and the manager refuses them together; try-restart is the same. The status stays 5.
# So a maintainer script of a package, or a pattern such as 'app@*.service', leaves all services
# as they were, because of one drop-in that is wrong.
# Expected: what runs and can be stopped is stopped. Tried with 252.39 and 262.1.
# Boots a systemd on an overlay of / that keeps nothing. Needs root and the Debian package
# systemd-container.
set -eu
folder=$(mktemp -d)
groups=/sys/fs/cgroup
[ ! -d "$groups/unified" ] || groups=$groups/unified
trap 'rm -rf "$folder"; find /sys/fs/cgroup -depth -type d -path "*/finding-$$*" -exec rmdir {} +' EXIT
cat >"$folder/boot.sh" <<'BOOT'
set -eu
if [ -d /sys/fs/cgroup/unified ]; then mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup; fi
mkdir "$2"
echo 0 >"$2/cgroup.procs"
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /run/try/upper/etc/systemd/system /run/try/work /run/try/root
: >/run/try/upper/etc/machine-id
cp "$1"/*.service /run/try/upper/etc/systemd/system
cp "$1/try.sh" /run/try/upper
mount -t overlay -o lowerdir=/,upperdir=/run/try/upper,workdir=/run/try/work overlay /run/try/root
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --directory=/run/try/root --machine=try \
    --register=no --keep-unit --boot --console=pipe --private-network --link-journal=no \
    --resolv-conf=off --timezone=off systemd.unit=try.service </dev/null >"$1/console" 2>&1 || true
cp /run/try/upper/said "$1" || { cat "$1/console"; echo "it did not boot: are inotify instances left?"; }
BOOT
cat >"$folder/good.service" <<'UNIT'
[Unit]
DefaultDependencies=no
[Service]
Type=exec
ExecStart=/bin/sleep infinity
UNIT
cat >"$folder/bad.service" <<'UNIT'
[Unit]
DefaultDependencies=no
[Service]
Type=exec
ExecStart=/bin/true
ExecStart=/bin/true
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
is() { systemctl show -P ActiveState good.service; }
for order in "good bad" "bad good"; do
    systemctl start good.service
    systemctl stop $order && status=0 || status=$?
    echo "stop $order: status $status, the good one is $(is)"
done
systemctl start good.service
systemctl stop good.service
echo "stop good: the good one is $(is)"
TRY
place=$groups/finding-$$
version=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
# Where both hierarchies are there, the script above leaves the second one alone.
[ ! -d /sys/fs/cgroup/unified ] || place=/sys/fs/cgroup/finding-$$
unshare --mount --pid --fork --kill-child --mount-proc --propagation=private \
    sh "$folder/boot.sh" "$folder" "$place"
echo "systemd $version"
cat "$folder/said"
if [ "$version" -ge 262 ]; then left=active; else left=inactive; fi
diff - "$folder/said" <<SAID
stop good bad: status 5, the good one is $left
stop bad good: status 5, the good one is $left
stop good: the good one is inactive
SAID

#!/bin/sh
# systemd 257: by systemd.exec(5) the directories of a unit with DynamicUser= belong to "nobody" as
# the host sees them, and to the service as it sees them itself, if the kernel has id-mapped mounts.
# For RuntimeDirectory= that depends on RuntimeDirectoryPreserve=, which is about when it is
# removed: with `no`, the default, it belongs to the service's user on the host as well, as with
# systemd 252. So a drop-in that has it kept over restarts locks the service out of what a script of
# root gives there to the user of the process. Then it reads what belongs to "nobody" (65534) on the
# host.
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
for preserve in no yes; do
    cat >"$folder/preserve-$preserve.service" <<UNIT
[Unit]
DefaultDependencies=no
[Service]
Type=exec
DynamicUser=yes
RuntimeDirectory=%p
RuntimeDirectoryPreserve=$preserve
ExecStart=/bin/sleep infinity
UNIT
done
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
systemctl --version | sed 's/ (.*//; q'
for unit in preserve-no preserve-yes; do
    systemctl start "$unit.service"
    pid=$(systemctl show -P MainPID "$unit.service")
    user=$(stat --format=%u "/proc/$pid")
    name() { case $1 in 65534) echo nobody ;; "$user") echo its user ;; *) echo "$1" ;; esac; }
    reads=
    for owner in "$user" 65534; do
        file=/run/$unit/$owner
        install --mode=0400 --owner="$owner" /dev/null "$file"
        ! nsenter --target="$pid" --mount --setuid="$user" cat "$file" 2>/dev/null ||
            reads=$reads$(name "$owner")
    done
    owner=$(name "$(stat --dereference --format=%u "/run/$unit")")
    echo "$unit: owner: $owner, it reads a file of: $reads"
done
TRY
for suite in bookworm trixie; do
    mmdebstrap --quiet --variant=minbase --include=systemd-sysv "$suite" "$folder/$suite"
    unshare --mount --pid --fork --kill-child --mount-proc --propagation=private \
        sh "$folder/boot.sh" "$folder" "$groups/finding-$$-$suite" "$suite"
done >"$folder/seen"
cat "$folder/seen"
diff - "$folder/seen" <<'SAID'
systemd 252
preserve-no: owner: its user, it reads a file of: its user
preserve-yes: owner: its user, it reads a file of: its user
systemd 257
preserve-no: owner: its user, it reads a file of: its user
preserve-yes: owner: nobody, it reads a file of: nobody
SAID

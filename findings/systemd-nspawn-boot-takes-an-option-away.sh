#!/bin/sh
# systemd 262: an option of the form --name=value, given to `systemd-nspawn --boot`, does not reach PID 1.
# By its manual the arguments behind --boot are arguments of the init program, and up to 261 they are.
# Since 262 (pull request 42055) nspawn does with them what a kernel does with its command line: a
# word with "=" and no dot before it becomes a variable of the environment, "-" written as "_". So
# `-- --unit=try.service` boots the default target, and everything that it wants, in place of the one
# unit, and nobody says so: systemd starts with a variable __unit that it does not read. What has a
# dot (systemd.unit=) goes through, in old releases as well. The words about --boot in the manual of
# 262 are the old ones.
# Expected: the option, or an error. Tried with 252.39 and 262.1.
# Runs a script as the init of an overlay of / that keeps nothing. Needs root and the Debian package
# systemd-container.
set -eu
folder=$(mktemp -d)
groups=/sys/fs/cgroup
[ ! -d "$groups/unified" ] || groups=$groups/unified
trap 'rm -rf "$folder"; find "$groups/finding-$$" -depth -type d -exec rmdir {} +' EXIT
cat >"$folder/boot.sh" <<'BOOT'
set -eu
mkdir "$2"
echo 0 >"$2/cgroup.procs"
# Where both hierarchies are there, newer releases want to see the second one alone.
[ "${2%/*}" = /sys/fs/cgroup ] || mount --bind "${2%/*}" /sys/fs/cgroup
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /run/try/upper/usr/lib/systemd /run/try/work /run/try/root
cp "$1/init" /run/try/upper/usr/lib/systemd/systemd
mount -t overlay -o lowerdir=/,upperdir=/run/try/upper,workdir=/run/try/work overlay /run/try/root
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --directory=/run/try/root --machine=try \
    --register=no --keep-unit --boot --console=pipe --private-network --link-journal=no \
    --resolv-conf=off --timezone=off -- --unit=try.service systemd.unit=try.target --show-status \
    </dev/null >"$1/console" 2>&1 || { cat "$1/console"; exit 1; }
BOOT
cat >"$folder/init" <<'INIT'
#!/bin/sh
echo "arguments: $*"
echo "variables: $(env | grep try)"
INIT
chmod +x "$folder/init"
unshare --mount --pid --fork --kill-child --mount-proc --propagation=private \
    sh "$folder/boot.sh" "$folder" "$groups/finding-$$"
version=$(systemd-nspawn --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
arguments="--unit=try.service systemd.unit=try.target --show-status" variables=
if [ "$version" -ge 262 ]; then
    arguments="systemd.unit=try.target --show-status" variables=__unit=try.service
fi
echo "systemd $version"
tr -d '\r' <"$folder/console" | grep -E '^(arguments|variables):' | tee "$folder/said"
diff - "$folder/said" <<SAID
arguments: $arguments
variables: $variables
SAID

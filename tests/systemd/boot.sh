# Boots a copy-on-write image of a root directory under systemd-nspawn. Run by container.py as
# PID 1 of a process-id and a mount namespace of its own: when this script ends, the kernel ends
# every process and unmounts everything; it ends when standard input does, or when systemd does.
# Arguments: a control group to make, the name of the container, and the root directory.
set -eu
exec 3<&0
group=$1 name=$2 lower=$3

# Every file that is written, nspawn's own included, is on this tmpfs.
mount -t tmpfs -o mode=0755 tmpfs /run
machine=/run/container
mkdir -p "$machine/upper/etc/cloud" "$machine/work" "$machine/root"
: >"$machine/upper/etc/machine-id"
: >"$machine/upper/etc/fstab"
: >"$machine/upper/etc/cloud/cloud-init.disabled"
mount -t overlay -o "lowerdir=$lower,upperdir=$machine/upper,workdir=$machine/work" overlay "$machine/root"

# Nothing that this machine has enabled is started, databases and brokers above all.
rm -rf "$machine"/root/etc/systemd/system/*.wants "$machine"/root/etc/systemd/system/*.requires
for unit in systemd-logind systemd-hwdb-update systemd-journal-catalog-update systemd-networkd \
    systemd-resolved systemd-timesyncd systemd-update-utmp systemd-update-utmp-runlevel \
    systemd-remount-fs ldconfig console-getty getty@tty1; do
    ln -sfn /dev/null "$machine/root/etc/systemd/system/$unit.service"
done

# Limits of units inside need these controllers; where version 1 has them there are none.
for controller in $(cat "${group%/*}/cgroup.controllers"); do
    case $controller in
        cpu | memory | pids)
            echo "+$controller" >"${group%/*}/cgroup.subtree_control" ||
                echo "units cannot have limits by the controller $controller"
            ;;
    esac
done
mkdir "$group"
(
    echo "$BASHPID" >"$group/cgroup.procs" # and nobody else: groups with limits hold groups only
    # Where version 2 is mounted beside version 1, only it is shown: nspawn knows it alone since 258.
    [ "${group%/*}" = /sys/fs/cgroup ] || mount --bind "${group%/*}" /sys/fs/cgroup
    exec systemd-nspawn --quiet --directory="$machine/root" --machine="$name" --register=no \
        --keep-unit --boot --console=pipe --private-network --link-journal=no --resolv-conf=off \
        --timezone=off </dev/null
) &
cat <&3 >/dev/null &
wait -n

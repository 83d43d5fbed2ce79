# Makes a directory the root of a mount namespace of its own, and runs a script of sh there, with
# this machine's network, devices and control groups. Run as PID 1 of a process-id namespace of its
# own: when it ends, so does everything. Arguments: the root, the script, paths to show inside.
set -eu
root=$1 script=$2
shift 2

mount --rbind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount --rbind /sys "$root/sys"
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir -p "$root/run/lock"
for file in /etc/resolv.conf /etc/hosts; do
    cp "$file" "$root$file"
done
for path; do
    if [ -d "$path" ]; then
        mkdir -p "$root$path"
    else
        mkdir -p "$(dirname "$root$path")"
        [ -e "$root$path" ] || : >"$root$path"
    fi
    mount --bind -o ro "$path" "$root$path"
done
cd "$root"
mkdir -p .old
pivot_root . .old
umount --lazy /.old
sh -c "$script" # and no exec: who is PID 1 has to reap

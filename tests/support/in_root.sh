#!/bin/sh
# Runs a program in the root of another Debian, with this machine's network, processes and devices,
# and one of its directories as /mnt. The mounts end with the program. Needs root.
# Usage: unshare --mount in_root.sh ROOT DIRECTORY COMMAND...
set -eu
root=$1 directory=$2
shift 2
for part in /proc /dev; do
    mount --rbind "$part" "$root$part"
done
mount --bind "$directory" "$root/mnt"
exec chroot "$root" "$@"

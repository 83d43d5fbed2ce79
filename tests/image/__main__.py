"""Builds the image of the Containerfile into an OCI archive: `make image`, as root.

Debian's buildah does it, in a root of its own, with no daemon, and no registry: the base is what
mmdebstrap makes of the same release. Arguments: the source distribution and the archive.
"""

import os
import shutil
import sys
from pathlib import Path

from tests.matrix.roots import CHECKOUT, Root, archived, fresh, say

INSIDE = "/srv/image"
BASE = "localhost/base"
BUILD_SECONDS = 1800
BUILDER = "buildah netavark"  # which it needs before it begins
SCRIPT = f"""
set -e
cd {INSIDE}
apt-get --quiet update
apt-get --quiet --yes --no-install-recommends install {BUILDER}
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
base=$(buildah from scratch)
buildah add --quiet "$base" base.tar /
buildah commit --quiet "$base" {BASE}
files=$(prlimit --nofile --noheadings --output=HARD) # those of its own may be above ours
tasks=$(prlimit --nproc --noheadings --output=HARD)
buildah build --quiet --squash --build-arg BASE={BASE} --tag built \\
    --ulimit "nofile=$files" --ulimit "nproc=$tasks" \\
    --volume {INSIDE}/pip.conf:/etc/pip.conf:ro $SHARED .
buildah push --quiet built oci-archive:{INSIDE}/built.tar:compute-launcher
"""


def main(sdist: Path, archive: Path) -> int:
    """0: the archive is there."""
    if os.geteuid() != 0:
        say("the image is built by root: sudo make image")
        return 1
    base = archived("debian-13-slim", "trixie", "ca-certificates")
    with fresh("debian-13") as root:
        context = root.path / INSIDE[1:]
        context.joinpath("dist").mkdir(parents=True)
        for name in ("Containerfile", "constraints.txt"):
            shutil.copy(CHECKOUT / name, context)
        shutil.copy(sdist, context / "dist")
        shutil.copy(base, context / "base.tar")
        context.joinpath("pip.conf").write_text(pip_conf(root), encoding="utf-8")
        shared = " ".join(f"--volume {path}:{path}:ro" for path in root.given)
        script = f"SHARED='{shared}'\n{SCRIPT}"
        _, status = root.timed(script, "image", BUILD_SECONDS)
        if status == 0:
            shutil.move(context / "built.tar", archive)
    return status


def pip_conf(root: Root) -> str:
    """What pip is told on this machine, as a file: an index of one's own serves the build, too."""
    lines = [
        f"{name.removeprefix('PIP_').lower().replace('_', '-')} = {value}"
        for name, value in root.pip.items()
    ]
    return "\n".join(["[global]", *lines, ""])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))

"""An image of one layer, unpacked from its OCI archive as a runtime wants it."""

import json
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Image:
    """What the Containerfile says, and where the root is."""

    root: Path
    user: int
    variables: list[str]
    entrypoint: list[str]
    volumes: list[str]


def unpacked(archive: Path, directory: Path) -> Image:
    """The image, its root below `directory`; needs root, for owners and modes."""
    with tarfile.open(archive) as tar:

        def read(blob: dict[str, Any]) -> Any:
            file = tar.extractfile(f"blobs/{blob['digest'].replace(':', '/')}")
            assert file is not None
            return file

        index = tar.extractfile("index.json")
        assert index is not None
        (listed,) = json.load(index)["manifests"]
        manifest = json.load(read(listed))
        config = json.load(read(manifest["config"]))["config"]
        (layer,) = manifest["layers"]
        root = directory / "root"
        root.mkdir()
        with subprocess.Popen(
            ["tar", "--extract", "--same-permissions", "--numeric-owner"],
            cwd=root,
            stdin=subprocess.PIPE,
        ) as unpacking:
            assert unpacking.stdin is not None
            shutil.copyfileobj(read(layer), unpacking.stdin)
            unpacking.stdin.close()
        assert unpacking.returncode == 0
    return Image(
        root,
        int(config["User"].partition(":")[0]),
        config["Env"],
        config["Entrypoint"],
        list(config["Volumes"]),
    )

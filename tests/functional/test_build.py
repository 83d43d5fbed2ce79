"""A wheel is built on every machine; it has the module in C where there is a compiler for it."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from launcher.supervise.processes.shared_heap import why_not

ROOT = Path(__file__).parents[2]
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
MODULE = "launcher/supervise/processes/_immortal."


@pytest.mark.parametrize("compiler", ["", "/nowhere/cc"])
def test_a_wheel_has_the_module_in_c_if_it_can(tmp_path: Path, compiler: str) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT / "launcher", source / "launcher", ignore=shutil.ignore_patterns("*.so"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    environment = os.environ | ({"CC": compiler} if compiler else {})
    command = [sys.executable, "-c", BUILD, str(tmp_path)]
    subprocess.run(command, cwd=source, env=environment, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        built = [name for name in file.namelist() if name.startswith(MODULE) and "so" in name]
    assert bool(built) == (not why_not() and not compiler)
    assert not built or f"cpython-{sys.version_info[0]}{sys.version_info[1]}" in built[0]

"""What a process imports that opens the registry."""

import os
import subprocess
import sys
from pathlib import Path


def test_neither_orm_nor_foreign_dialects_are_imported(tmp_path: Path) -> None:
    """They would cost every worker's start time and memory."""
    code = (
        "import sys; from launcher.registry.engine import open_registry; "
        f"open_registry('sqlite:///{tmp_path}/db'); "
        "print(*(name for name in sys.modules if name.startswith('sqlalchemy.')))"
    )

    out = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ
    ).stdout.split()

    assert "sqlalchemy.dialects.sqlite.pysqlite" in out
    assert [name for name in out if name.startswith("sqlalchemy.orm")] == []
    assert {name.split(".")[2] for name in out if name.startswith("sqlalchemy.dialects.")} == {
        "_typing",
        "sqlite",
    }

"""The program of the next release: a copy with one revision more, which adds two columns."""

import re
import shutil
from pathlib import Path

from launcher.registry.schema import NEEDED

CHECKOUT = Path(__file__).parents[2]
NEXT = f"{int(NEEDED[:4]) + 1:04}_from_{NEEDED[:4]}"
FAIL = "FAIL_HALF_WAY"  # when this variable is set, the revision fails between its operations
REVISION = f'''\
"""A place for each service."""

import os

import sqlalchemy as sa
from alembic import op

from launcher.registry import repeatable

revision = "{NEXT}"
down_revision = "{NEEDED}"


def upgrade():
    repeatable.add_column("services", sa.Column("rack", sa.String(64)))
    if "{FAIL}" in os.environ:
        op.execute("SELECT * FROM nowhere")
    repeatable.add_column("services", sa.Column("shelf", sa.Integer, server_default="1"))
'''


def make(directory: Path) -> dict[str, str]:
    """Write the program to a directory. Return the environment in which a script runs it."""
    program = directory / "launcher"
    shutil.copytree(CHECKOUT / "launcher", program, ignore=shutil.ignore_patterns("__pycache__"))
    registry = program / "registry"
    (registry / "migrations" / "versions" / f"schema_{NEXT[:4]}.py").write_text(REVISION)
    _put(registry / "schema.py", r"(?<=^NEEDED = )\S+", f'"{NEXT}"')
    columns = (
        'Column("rack", String(64)),\n    Column("shelf", Integer, server_default="1"),\n    '
    )
    _put(registry / "models.py", r'(?=UniqueConstraint\("host", "binary")', columns)
    fields = "    rack: str | None = None\n    shelf: int = 1\n"
    _put(registry / "records.py", r"(?<=    updated_at: datetime \| None\n)", fields)
    return {"PYTHONPATH": f"{directory}:{CHECKOUT}"}


def _put(path: Path, place: str, text: str) -> None:
    changed, count = re.subn(place, lambda _: text, path.read_text(), count=1, flags=re.MULTILINE)
    assert count == 1, f"{path} has no {place}"
    path.write_text(changed)

"""A command that has to run where a worker does says how to get there."""

from pathlib import Path

import pytest

from launcher.cli.namespaces import OURS, within


@pytest.mark.parametrize(
    ("mount", "net", "wanted"),
    [
        (1, 1, "pdb"),
        (2, 1, "nsenter --target=7 --mount pdb"),
        (1, 2, "nsenter --target=7 --net pdb"),
        (2, 2, "nsenter --target=7 --mount --net pdb"),
    ],
)
def test_it_enters_what_is_another_one(tmp_path: Path, mount: int, net: int, wanted: str) -> None:
    for process, names in ((OURS, {"mnt": 1, "net": 1}), ("7", {"mnt": mount, "net": net})):
        directory = tmp_path / process / "ns"
        directory.mkdir(parents=True)
        for name, number in names.items():
            (directory / name).symlink_to(f"{name}:[{number}]")
    assert within(7, "pdb", tmp_path) == wanted


def test_who_may_not_know_gets_it_as_it_is(tmp_path: Path) -> None:
    assert within(7, "pdb", tmp_path) == "pdb"

"""The man pages, by what formats them everywhere."""

import subprocess

import pytest

from etc.man.generate import NAMES, PAGES


@pytest.mark.parametrize("name", NAMES)
def test_groff_has_nothing_to_say_and_80_columns_are_enough(name: str) -> None:
    groff = ["groff", "-man", "-ww", "-Tascii", "-P-cbou", "-rLL=80n"]
    done = subprocess.run(
        [*groff, PAGES / name], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "SEE ALSO" in done.stdout

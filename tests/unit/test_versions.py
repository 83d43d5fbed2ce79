"""The bounds in pyproject.toml, beside the versions that were tried."""

import re
import tomllib
from pathlib import Path

import pytest

from launcher.cli import versions

ROOT = Path(__file__).parents[2]
Version = tuple[int, ...]


def project() -> dict[str, list[str]]:
    """The bounds of each dependency, with those of the extras."""
    facts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = list(facts["dependencies"])
    for extra in facts["optional-dependencies"].values():
        lines += extra
    found = {}
    for line in lines:
        name, _, bounds = re.fullmatch(r"([\w.-]+)(\[\w+\])?(.*)", line).groups()  # type: ignore[union-attr]
        found[plain(name)] = bounds.split(",")
    return found


def pins() -> dict[str, Version]:
    """The versions in constraints.txt, with which all tests run."""
    text = (ROOT / "constraints.txt").read_text()
    found = re.findall(r"^([\w.-]+)==([\d.]+)", text, re.MULTILINE)
    return {plain(name): key(version) for name, version in found}


def plain(name: str) -> str:
    return re.sub(r"[._-]+", "-", name).lower()


def key(version: str) -> Version:
    return tuple(map(int, version.split(".")))


@pytest.mark.parametrize("name", sorted(project()))
def test_the_version_that_all_tests_run_with_is_within_the_bounds(name: str) -> None:
    for bound in project()[name]:
        sign, version = re.fullmatch(r"(>=|<)([\d.]+)", bound).groups()  # type: ignore[union-attr]
        below = pins()[name] < key(version)
        assert below == (sign == "<"), (name, bound, pins()[name])


@pytest.mark.parametrize("name", sorted(versions.TRIED))
def test_what_stands_on_private_names_has_an_upper_bound_and_was_tried(name: str) -> None:
    """Once `make lock` brings a newer one: run all tests, then say here that it was tried."""
    assert [bound for bound in project()[plain(name)] if bound.startswith("<")]
    assert pins()[plain(name)] == key(versions.TRIED[name])


def test_a_library_that_nobody_has_tried_is_named_with_the_newest_that_was() -> None:
    newer = versions.TRIED | {"oslo.messaging": "18.10.0rc1"}
    assert versions.untried(newer.__getitem__) == [
        "oslo.messaging 18.10.0rc1 is newer than 18.3.1, the newest that was tried with this "
        "launcher"
    ]
    assert versions.untried(versions.TRIED.__getitem__) == []
    older = dict.fromkeys(versions.TRIED, "2.1")
    assert versions.untried(older.__getitem__) == []

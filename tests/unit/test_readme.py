"""README says what is so: its code is that of the examples, its commands and links exist. The
paths and tests that CONTRIBUTING and SECURITY name exist, too."""

import re
import shlex
from pathlib import Path

import pytest

from launcher.cli import parser, program

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "tests" / "examples" / "thermometer"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
CODE = [text for language, text in BLOCKS if language in {"python", "toml"}]
COMMANDS = [
    line.partition("#")[0].partition("&&")[0]
    for _, text in BLOCKS
    for line in text.splitlines()
    if line.startswith("compute-launcher ")
]
LINKS = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
SECTIONS = re.findall(
    r"(compute-launcher(?:\.conf)?)\((\d)\),\s+([A-Z]{3,}(?: [A-Z]{2,})*)", README
)
OTHERS = "".join(
    (ROOT / name).read_text(encoding="utf-8") for name in ("CONTRIBUTING.md", "SECURITY.md")
)
PATHS = sorted(set(re.findall(r"\b((?:launcher|tests|etc|systemd)/[\w./-]*\w)", OTHERS)))
PACKAGES = re.findall(r"^\| `([\w/]+)` \| ", OTHERS, re.MULTILINE)
TESTS = sorted(set(re.findall(r"`(test_\w+)`", OTHERS)))


@pytest.mark.parametrize("code", CODE)
def test_code_is_that_of_the_example(code: str) -> None:
    """Mend README: copy what the example has."""
    sources = [path for path in EXAMPLE.rglob("*") if path.suffix in {".py", ".toml"}]
    assert any(code in path.read_text(encoding="utf-8") for path in sources)


def test_there_is_code_of_a_manager_a_package_and_a_client() -> None:
    assert [language for language, _ in BLOCKS if language] == ["python", "toml", "python"]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command: str) -> None:
    ours, _ = program.split(shlex.split(command))
    parser.build("compute-launcher").parse_args(ours[1:])


@pytest.mark.parametrize("link", LINKS)
def test_links_lead_to_a_file(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.parametrize(("page", "number", "heading"), SECTIONS)
def test_sections_of_man_pages_exist(page: str, number: str, heading: str) -> None:
    text = (ROOT / "etc" / "man" / f"{page}.{number}").read_text(encoding="utf-8")
    assert f"\n.SH {heading}\n" in text


@pytest.mark.parametrize("path", PATHS)
def test_paths_exist(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_package_is_in_the_table() -> None:
    """`supervise` is told by the packages in it."""
    found = {path.parent.relative_to(ROOT / "launcher") for path in ROOT.glob("launcher/**/*.py")}
    assert {str(path) for path in found} - {".", "supervise"} == set(PACKAGES)


def test_named_tests_exist() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/*.py"))
    assert [name for name in TESTS if f"def {name}(" not in sources] == []
    assert TESTS

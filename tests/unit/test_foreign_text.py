"""Foreign text stays readable, but cannot command a terminal or forge a line."""

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.foreign_text import (
    BLOCK_LINE_CHARACTERS,
    CONTINUED,
    LINES,
    fit,
    fit_block,
    fit_json,
    fit_record,
)

QUICK = settings(deadline=None, database=None)
BIDIRECTIONAL = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
ANY_TEXT = st.text(st.characters(categories=None), max_size=40) | st.text(
    st.sampled_from("\n\r\t\0\x1b\x7f\x85\x9b\u2028\u2029\u202e\u2066\u200f\udcff|ab"), max_size=40
)


def unfit(text: str) -> list[str]:
    """The characters that affect a terminal, a log or an encoder, by their Unicode category."""
    return [
        one
        for one in text
        if unicodedata.category(one) in {"Cc", "Cs", "Zl", "Zp"}
        or unicodedata.bidirectional(one) in BIDIRECTIONAL
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größe 四 🙂", "größe 四 🙂"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("\x00\x7f\x9b", r"\x00\x7f\x9b"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
        ("\udcff", r"\udcff"),
    ],
)
def test_what_is_unfit_is_shown_as_its_escape(text: str, shown: str) -> None:
    assert fit(text) == shown


@QUICK
@given(ANY_TEXT)
def test_a_line_is_one_line_and_commands_nothing(text: str) -> None:
    shown = fit(text)

    assert unfit(shown) == []
    assert fit(shown) == shown
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")


@QUICK
@given(ANY_TEXT, st.integers(1, 30))
def test_a_line_is_no_longer_than_it_may_be(text: str, limit: int) -> None:
    assert len(fit(text, limit)) <= limit


def test_a_text_that_is_cut_ends_in_an_ellipsis() -> None:
    assert fit("x" * 11, 10) == "x" * 9 + "…"


@QUICK
@given(ANY_TEXT, ANY_TEXT)
def test_no_line_of_a_record_but_the_first_can_be_taken_for_the_first(
    message: str, traceback: str
) -> None:
    first, *rest = fit_record(message, traceback).split("\n")

    assert not first.startswith(CONTINUED[0])
    assert [line for line in rest if not line.startswith(CONTINUED)] == []
    assert unfit(first + "".join(rest)) == []


def test_a_block_is_bounded() -> None:
    lines = fit_block("\n".join(str(number) for number in range(10 * LINES)))

    assert (lines[0], lines[-1], len(lines)) == ("0", str(10 * LINES - 1), LINES + 1)
    assert len(fit_block("x" * 100_000)[0]) == BLOCK_LINE_CHARACTERS


@QUICK
@given(st.recursive(ANY_TEXT, lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner)))
def test_json_says_the_same_and_commands_nothing(value: object) -> None:
    shown = fit_json(json.dumps(value, indent=2, ensure_ascii=False))

    assert json.loads(shown) == json.loads(json.dumps(value))
    assert unfit(shown.replace("\n", "")) == []

"""What is shown of URLs: everything but passwords."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.masking import mask_url

QUICK = settings(deadline=None, database=None)
PERCENT_ENCODED = st.text("abcXYZ019-._~%!$&'()*+;=", min_size=1)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rabbit://user:secret@host:5672/vhost", "rabbit://user:***@host:5672/vhost"),
        ("rabbit://user:@host/", "rabbit://user:***@host/"),
        ("rabbit://:secret@host/", "rabbit://:***@host/"),
        ("rabbit://user@host/", "rabbit://user@host/"),
        ("rabbit://host:5672/", "rabbit://host:5672/"),
        ("rabbit://[::1]:5672/", "rabbit://[::1]:5672/"),
        ("rabbit://u:p@h1,v:q@h2:5672/x", "rabbit://u:***@h1,v:***@h2:5672/x"),
        ("rabbit://u:p@[::1]:1,v:q@h2:2/", "rabbit://u:***@[::1]:1,v:***@h2:2/"),
        ("rabbit://u:p%40%3A%2F@h/", "rabbit://u:***@h/"),
        ("rabbit://u:p:q@h/", "rabbit://u:***@h/"),
        ("rabbit://u:p@q@h/", "rabbit://u:***@h/"),
        ("rabbit://u:p/q@h/", "rabbit://u:***@h/"),
        ("rabbit://u:p,q@h/", "rabbit://u:***@h/"),
        ("rabbit://u:p q@h/", "rabbit://u:***@h/"),
        ("rabbit://u:p://q@h/", "rabbit://u:***@h/"),
        ("rabbit://u:secret", "rabbit://u:***"),
        ("rabbit://u:secret#x", "rabbit://u:***"),
        ("rabbit:u:secret@h", "***@h"),
        ("unix:///run/launcher/bus", "unix:///run/launcher/bus"),
        ("sqlite:////srv/a@b/launcher.sqlite", "sqlite:////srv/a@b/launcher.sqlite"),
        ("mysql://u:p@h/db?charset=utf8", "mysql://u:***@h/db?charset=utf8"),
        ("mysql://u:p@h/db?a=1&password=x&b=2", "mysql://u:***@h/db?a=1&password=***&b=2"),
        ("postgresql://h/db?sslpassword=x", "postgresql://h/db?sslpassword=***"),
        ("nothing in it", "nothing in it"),
    ],
)
def test_a_url_is_shown_without_its_passwords(url: str, shown: str) -> None:
    assert mask_url(url) == shown


def test_a_url_within_a_text_is_masked_too() -> None:
    text = "cannot parse 'rabbit://u:p@h1,v:q@h2/' at all"

    assert mask_url(text) == "cannot parse 'rabbit://u:***@h1,v:***@h2/' at all"


@QUICK
@given(st.lists(PERCENT_ENCODED, min_size=1, max_size=4))
def test_no_password_of_any_host_is_shown(passwords: list[str]) -> None:
    """A bracket of marks around each, so that no chance letter counts as a leak."""
    hosts = ",".join(f"user:<{password}>@host{n}:56" for n, password in enumerate(passwords))

    shown = mask_url(f"rabbit://{hosts}/vhost")

    assert "<" not in shown
    assert ">" not in shown
    assert all(f"host{n}:56" in shown for n in range(len(passwords)))


@QUICK
@given(st.text("abc019:@/%#?&= \n[]é-", max_size=30))
def test_not_even_a_raw_one_with_every_character(password: str) -> None:
    """But the comma, with which a raw @ begins another host; see the next test."""
    shown = mask_url(f"rabbit://user:<{password}>@host/vhost")

    assert shown == "rabbit://user:***@host/vhost"


@QUICK
@given(st.text("abc019:/,%#?&= \n[]é-", max_size=30))
def test_a_comma_makes_no_host(password: str) -> None:
    shown = mask_url(f"rabbit://user:<{password}>@host/vhost")

    assert shown == "rabbit://user:***@host/vhost"

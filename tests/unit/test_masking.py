"""URLs are shown without passwords."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.config.masking import mask_password, mask_url

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
    """Marks around each password, so that no single letter counts as a leak."""
    hosts = ",".join(f"user:<{password}>@host{n}:56" for n, password in enumerate(passwords))

    shown = mask_url(f"rabbit://{hosts}/vhost")

    assert "<" not in shown
    assert ">" not in shown
    assert all(f"host{n}:56" in shown for n in range(len(passwords)))


@QUICK
@given(st.text("abc019:@/%#?&= \n[]é-", max_size=30))
def test_not_even_a_raw_one_with_every_character(password: str) -> None:
    """All but the comma, after which a raw @ begins another host; see the next test."""
    shown = mask_url(f"rabbit://user:<{password}>@host/vhost")

    assert shown == "rabbit://user:***@host/vhost"


@QUICK
@given(st.text("abc019:/,%#?&= \n[]é-", max_size=30))
def test_a_comma_makes_no_host(password: str) -> None:
    shown = mask_url(f"rabbit://user:<{password}>@host/vhost")

    assert shown == "rabbit://user:***@host/vhost"


@pytest.mark.parametrize(
    ("password", "shown"),
    [
        ("secret", 'password "***" of user "launcher" on db for launcher-db'),
        ("launcher", 'password "secret" of user "launcher" on db for launcher-db'),
        ("launch", 'password "secret" of user "launcher" on db for launcher-db'),
        ("db", 'password "secret" of user "launcher" on db for launcher-db'),
        ("user", 'password "secret" of *** "launcher" on db for launcher-db'),
        ("", 'password "secret" of user "launcher" on db for launcher-db'),
        (None, 'password "secret" of user "launcher" on db for launcher-db'),
    ],
)
def test_a_password_is_masked_but_where_it_is_a_name(password: str | None, shown: str) -> None:
    text = 'password "secret" of user "launcher" on db for launcher-db'

    assert mask_password(text, password, ("launcher", "db", "launcher-db", None)) == shown


def test_a_name_that_overlaps_a_password_uncovers_nothing_of_it() -> None:
    assert mask_password("xsecret secretsecret", "secret", ("xs", "se")) == "x*** ***"
    assert mask_password("aaa", "aa") == "***"


def test_a_password_is_masked_as_a_url_has_it_too() -> None:
    assert mask_password("pg://u:p%40%2Fq@h p@/q", "p@/q", ("u", "h")) == "pg://u:***@h ***"


@QUICK
@given(st.text("ab", min_size=1, max_size=4), st.text("abc", min_size=1, max_size=4), st.data())
def test_whatever_the_names_are_no_password_is_left_outside_of_them(
    password: str, name: str, data: st.DataObject
) -> None:
    parts = st.lists(st.sampled_from([password, name, " ", "b"]), max_size=6)
    text = "".join(data.draw(parts))

    shown = mask_password(text, password, [name])

    starts = [place for place in range(len(shown)) if shown.startswith(name, place)]
    within = {place for start in starts for place in range(start, start + len(name))}
    rest = "".join("|" if place in within else one for place, one in enumerate(shown))
    assert password not in rest

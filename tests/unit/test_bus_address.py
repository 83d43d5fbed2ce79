"""The URLs that name a bus, and the file names of queues."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oslo_config import cfg
from oslo_messaging import InvalidTransportURL, TransportURL

from launcher.unixbus.address import LONGEST_NAME, SOCKET_TAIL, directory_of, queue_name

NAMES = st.text(st.characters(), max_size=300)


def parse(url: str) -> object:
    return TransportURL.parse(cfg.CONF, url)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("unix:///run/x/bus", "/run/x/bus"),
        ("unix:///run/x/bus/", "/run/x/bus"),
        ("unix:/run/x/bus", "/run/x/bus"),
        ("unix:////run/x", "/run/x"),
        ("unix:///run/x/bus?prefetch=1", "/run/x/bus"),
        ("unix:///run/with%20space", "/run/with space"),
    ],
)
def test_a_url_names_an_absolute_path(url: str, path: str) -> None:
    assert directory_of(parse(url)) == path


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("unix://run/x/bus", "it has a host, user or port part"),
        ("unix://me:secret@/run/x", "it has a host, user or port part"),
        ("unix://localhost:1234/run/x", "it has a host, user or port part"),
        ("unix://", "it lacks an absolute path"),
        ("unix:///", "it lacks an absolute path"),
        ("unix:bus", "it lacks an absolute path"),
        ("unix:///run/%00", "its path contains a NUL"),
    ],
)
def test_a_url_that_names_none_is_refused_in_one_sentence(url: str, problem: str) -> None:
    with pytest.raises(InvalidTransportURL, match=problem) as refused:
        directory_of(parse(url))
    assert "\n" not in str(refused.value)


def test_the_longest_path_is_the_one_whose_sockets_have_107_bytes() -> None:
    fits = "/" + "x" * (107 - len(SOCKET_TAIL) - 1)
    assert directory_of(parse(f"unix://{fits}")) == fits

    with pytest.raises(InvalidTransportURL, match="its path is 1 bytes too long"):
        directory_of(parse(f"unix://{fits}y"))


def test_the_length_of_a_path_is_counted_in_bytes() -> None:
    with pytest.raises(InvalidTransportURL, match="bytes too long"):
        directory_of(parse("unix:///" + quote("ü" * 50)))


def test_a_queue_is_named_after_exchange_topic_and_server() -> None:
    assert queue_name("nova", "compute") == "nova,compute"
    assert queue_name("nova", "compute", "host-1.example") == "nova,compute,host-1.example"


def test_names_that_would_lead_elsewhere_stay_where_they_are() -> None:
    assert queue_name("..", ".", "../../etc/passwd") == "%2E.,%2E,%2E.%2F..%2Fetc%2Fpasswd"


@given(NAMES, NAMES)
def test_a_queue_name_is_a_file_name_whatever_the_topic(exchange: str, topic: str) -> None:
    name = queue_name(exchange, topic)

    assert len(name.encode()) <= LONGEST_NAME
    assert "/" not in name
    assert "\0" not in name
    assert not name.startswith(".")


@given(st.lists(NAMES, min_size=1, max_size=3), st.lists(NAMES, min_size=1, max_size=3))
def test_two_addresses_never_share_a_queue(one: list[str], other: list[str]) -> None:
    assert (queue_name(*one) == queue_name(*other)) == (one == other)

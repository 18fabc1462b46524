"""Names and ports of the workers of `millstream run`."""

import socket

import click
import pytest

from millstream.cli.local_workers import Workers
from millstream.settings import Settings
from millstream.web.server import PortTakenError
from tests.framework.service import free_port


@pytest.mark.parametrize(
    ("first", "names"), [("0", ["0", "1", "2"]), ("7", ["7", "8", "9"]), ("a", ["a", "a-1", "a-2"])]
)
def test_names_and_ports_follow_the_configured_ones(first: str, names: list[str]) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port + 1)):
        places = Workers(Settings(worker=first, web_port=port), 3).places
    assert [name for name, _ in places] == names
    ports = [number for _, number in places]
    assert ports[0] == port
    assert ports == sorted(set(ports) - {port + 1})


def test_the_configured_port_must_be_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"port {port} is taken .* MILLSTREAM_WEB_PORT"):
            Workers(Settings(web_port=port), 2)


def test_there_are_too_few_ports() -> None:
    with pytest.raises(
        PortTakenError, match=r"ports from 65535 on are free for 2 workers|port 65535 is taken"
    ):
        Workers(Settings(web_port=65535), 2)


def test_one_url_is_not_for_several() -> None:
    with pytest.raises(
        click.ClickException, match="MILLSTREAM_WEB_ADVERTISE=http://a:1 is the URL of one worker"
    ):
        Workers(Settings(web_port=free_port(), web_advertise="http://a:1"), 2)

"""Settings that cannot be meant are refused, with their names."""

import socket

import pytest

from app.settings import SettingsError, settings


@pytest.fixture(autouse=True)
def fresh() -> None:
    settings.cache_clear()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MILLRACE_PARTITIONS", "0", "MILLRACE_PARTITIONS=0"),
        ("MILLRACE_STANDBYS", "-1", "MILLRACE_STANDBYS=-1"),
        ("MILLRACE_DEAD_LETTER_SHARE", "0", "MILLRACE_DEAD_LETTER_SHARE=0"),
        ("MILLRACE_SESSION_TIMEOUT", "PT1H", "MILLRACE_SESSION_TIMEOUT="),
        ("MILLRACE_WEB_ADVERTISE", "localhost:6066", "MILLRACE_WEB_ADVERTISE=localhost:6066"),
        (
            "MILLRACE_MIN_INSYNC_REPLICAS",
            "2",
            "is more than MILLRACE_REPLICATION=1: no write could be confirmed",
        ),
    ],
)
def test_what_cannot_be_meant(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=said):
        settings()
    monkeypatch.undo()
    settings.cache_clear()
    settings()


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "http://127.0.0.1:6066"),
        ({"MILLRACE_WEB_HOST": "0.0.0.0"}, f"http://{socket.gethostname()}:6066"),
        ({"MILLRACE_WEB_HOST": "::1", "MILLRACE_WEB_PORT": "80"}, "http://[::1]:80"),
        ({"MILLRACE_WEB_ADVERTISE": "https://worker-1.example:8443"}, "https://worker-1.example:8443"),
    ],
)
def test_where_the_views_are_for_the_others(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], url: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert settings().advertised == url
    settings.cache_clear()

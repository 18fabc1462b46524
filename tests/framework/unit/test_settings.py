"""Settings that cannot be meant are refused, with their names."""

import socket

import pytest

from millstream.settings import SettingsError, settings


@pytest.fixture(autouse=True)
def fresh() -> None:
    settings.cache_clear()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MILLSTREAM_PARTITIONS", "0", "MILLSTREAM_PARTITIONS=0"),
        ("MILLSTREAM_STANDBYS", "-1", "MILLSTREAM_STANDBYS=-1"),
        ("MILLSTREAM_DEAD_LETTER_SHARE", "0", "MILLSTREAM_DEAD_LETTER_SHARE=0"),
        ("MILLSTREAM_SESSION_TIMEOUT", "PT1H", "MILLSTREAM_SESSION_TIMEOUT="),
        ("MILLSTREAM_TOKENS", "", "MILLSTREAM_TOKENS=: .* name a file, or leave the variable out"),
        ("MILLSTREAM_RATE_LIMIT", "nan", "MILLSTREAM_RATE_LIMIT=nan"),
        ("MILLSTREAM_RATE_LIMIT", "-1", "MILLSTREAM_RATE_LIMIT=-1"),
        ("MILLSTREAM_CORS_ORIGINS", "*", "'\\*' is no origin"),
        (
            "MILLSTREAM_CORS_ORIGINS",
            "https://a.example,https://b.example/",
            "'https://b.example/' is no origin",
        ),
        ("MILLSTREAM_CORS_ORIGINS", "https://A.example", "'https://A.example' is no origin"),
        ("MILLSTREAM_TLS_CERT", "cert.pem", "MILLSTREAM_TLS_CERT and MILLSTREAM_TLS_KEY go together"),
        ("MILLSTREAM_TLS_CA", "ca.pem", "MILLSTREAM_TLS_CA with both"),
        ("MILLSTREAM_WEB_ADVERTISE", "localhost:6066", "MILLSTREAM_WEB_ADVERTISE=localhost:6066"),
        (
            "MILLSTREAM_MIN_INSYNC_REPLICAS",
            "2",
            "is more than MILLSTREAM_REPLICATION=1: no write could be confirmed",
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


def test_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings().origins == frozenset()
    settings.cache_clear()
    monkeypatch.setenv("MILLSTREAM_CORS_ORIGINS", "https://a.example,http://localhost:3000,http://[::1]:80")
    assert settings().origins == {"https://a.example", "http://localhost:3000", "http://[::1]:80"}
    settings.cache_clear()


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "http://127.0.0.1:6066"),
        ({"MILLSTREAM_WEB_HOST": "0.0.0.0"}, f"http://{socket.gethostname()}:6066"),
        ({"MILLSTREAM_WEB_HOST": "::1", "MILLSTREAM_WEB_PORT": "80"}, "http://[::1]:80"),
        ({"MILLSTREAM_TLS_CERT": "c.pem", "MILLSTREAM_TLS_KEY": "k.pem"}, "https://127.0.0.1:6066"),
        ({"MILLSTREAM_WEB_ADVERTISE": "https://worker-1.example:8443"}, "https://worker-1.example:8443"),
    ],
)
def test_where_the_views_are_for_the_others(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], url: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert settings().advertised == url
    settings.cache_clear()

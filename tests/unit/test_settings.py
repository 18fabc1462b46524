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
        ("MILLRACE_TOKENS", "", "MILLRACE_TOKENS=: .* name a file, or leave the variable out"),
        ("MILLRACE_RATE_LIMIT", "nan", "MILLRACE_RATE_LIMIT=nan"),
        ("MILLRACE_RATE_LIMIT", "-1", "MILLRACE_RATE_LIMIT=-1"),
        ("MILLRACE_CORS_ORIGINS", "*", "'\\*' is no origin"),
        (
            "MILLRACE_CORS_ORIGINS",
            "https://a.example,https://b.example/",
            "'https://b.example/' is no origin",
        ),
        ("MILLRACE_CORS_ORIGINS", "https://A.example", "'https://A.example' is no origin"),
        ("MILLRACE_TLS_CERT", "cert.pem", "MILLRACE_TLS_CERT and MILLRACE_TLS_KEY go together"),
        ("MILLRACE_TLS_CA", "ca.pem", "MILLRACE_TLS_CA with both"),
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


def test_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings().origins == frozenset()
    settings.cache_clear()
    monkeypatch.setenv("MILLRACE_CORS_ORIGINS", "https://a.example,http://localhost:3000,http://[::1]:80")
    assert settings().origins == {"https://a.example", "http://localhost:3000", "http://[::1]:80"}
    settings.cache_clear()


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "http://127.0.0.1:6066"),
        ({"MILLRACE_WEB_HOST": "0.0.0.0"}, f"http://{socket.gethostname()}:6066"),
        ({"MILLRACE_WEB_HOST": "::1", "MILLRACE_WEB_PORT": "80"}, "http://[::1]:80"),
        ({"MILLRACE_TLS_CERT": "c.pem", "MILLRACE_TLS_KEY": "k.pem"}, "https://127.0.0.1:6066"),
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

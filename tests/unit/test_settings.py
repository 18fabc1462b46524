"""Settings that cannot be meant are refused, with their names."""

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

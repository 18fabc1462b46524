"""The settings of this service, in addition to the framework's; they have the same environment prefix."""

from datetime import timedelta

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from millstream.settings import read_settings


class ServiceSettings(BaseSettings):
    """Settings with their units and defaults."""

    model_config = SettingsConfigDict(env_prefix="MILLSTREAM_", frozen=True)

    dedup_ttl: timedelta = Field(
        timedelta(minutes=10),
        ge=timedelta(seconds=1),
        description="Event time for which an event_id is kept.",
    )
    grace: timedelta = Field(
        timedelta(minutes=5),
        ge=timedelta(0),
        description="Event time that sessions, minutes and days wait for events that come out of order.",
    )


settings = read_settings(ServiceSettings)

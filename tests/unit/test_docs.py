"""What the documents say is what the code has."""

import re
from pathlib import Path

from app import app
from app.settings import ServiceSettings
from millstream.cli import COMMANDS
from millstream.records import CODES
from millstream.settings import Settings
from models.activity import ActivityEvent

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
HAZARDS = (ROOT / "docs" / "faust-hazards.md").read_text()
EVENTS = (ROOT / "docs" / "events.md").read_text()


def test_readme_has_every_setting() -> None:
    names = {
        "KAFKA_BOOTSTRAP_SERVERS" if field.validation_alias else f"MILLSTREAM_{name.upper()}"
        for name, field in (Settings.model_fields | ServiceSettings.model_fields).items()
    }
    assert set(re.findall(r"`((?:MILLSTREAM|KAFKA)_[A-Z_]+)`", README)) == names


def test_docs_have_every_code_and_field() -> None:
    named = set(re.findall(r"^\| `([^`]+)` \|", EVENTS, re.MULTILINE))
    assert set(CODES) | set(ActivityEvent._options.fields) <= named


def test_docs_have_every_topic_and_table() -> None:
    topics = {name for name in app.topic_specs if not name.endswith(".state")}
    tables = {table.name for source in app.topology.sources.values() for table in source.tables}
    assert all(f"`{name}`" in EVENTS for name in topics | tables)


def test_hazards_name_tests_that_are_there() -> None:
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", HAZARDS)
    assert all(f"def {test}(" in (ROOT / file).read_text() for file, test in named)
    theirs = "".join(
        file.read_text() for file in (ROOT / "tests" / "framework" / "hazards").glob("test_*.py")
    )
    assert set(re.findall(r"def (test_\w+)", theirs)) <= {test for _, test in named}


def test_changelog_and_commands() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert all(f"`{name}`" in changelog for name in COMMANDS)

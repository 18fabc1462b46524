"""The file formats that this service reads; `millstream load --as NAME`."""

from app import app, topics
from app.formats import access_log, activity, retail
from millstream.sources.formats import LineFormat, RowFormat

app.add_file_formats(
    RowFormat("activity", topics.activity_raw, activity.COLUMNS, activity.value, json_is_value=True),
    RowFormat("retail", topics.activity_raw, retail.COLUMNS, retail.value),
    LineFormat("access-log", topics.activity_raw, access_log.value, about="Apache's combined log"),
)

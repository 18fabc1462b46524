"""The built wheel holds `millstream` alone, and is imported beside anybody's `app.py`."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

SERVICE = """\
from datetime import timedelta
import millstream
from millstream.tables.aggregates import Count
from millstream.tables.windows import WindowTable
from millstream.testing.driver import Driver

class Order(millstream.Record):
    user: str
    timestamp: millstream.EventTime

app = millstream.App("orders")
orders = app.source_topic("orders", Order, key="user", dead_letters="orders.dead-letters")
counts = WindowTable("counts", size=timedelta(minutes=1), value=Count("orders"))
app.add_tables(orders, counts, keyed=True)

@app.agent(orders)
async def count(batches: millstream.Batches[Order]) -> None:
    async for batch in batches:
        async with batch.commit() as commit:
            table = counts.open(commit)
            for order in batch:
                table.add(order.user, 1, at=order.timestamp)

if __name__ == "__main__":
    with Driver(app) as driver:
        driver.send("orders", {"user": "a", "timestamp": 1.7e9})
        print(driver.query("counts", "a")["total"], millstream.__file__)
"""


def test_the_wheel_holds_the_framework_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"millstream"}
    data = {
        "millstream/py.typed",
        "millstream/templates/new/dot-gitignore.tmpl",
        "millstream/kafka/local/pom.xml",
        "millstream/web/page/page.html",
    }
    assert data <= set(names)


def test_it_is_imported_beside_foreign_modules(wheel: Path, tmp_path: Path) -> None:
    installed, home = tmp_path / "installed", tmp_path / "home"
    zipfile.ZipFile(wheel).extractall(installed)
    home.mkdir()
    for name in ("app", "agents", "models", "tables", "settings", "records"):
        (home / f"{name}.py").write_text(f"raise SystemExit('theirs: {name}')\n")
    (home / "shop.py").write_text(SERVICE)
    env = {**os.environ, "PYTHONPATH": str(installed)}  # before this checkout, which is installed, too

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments], cwd=home, env=env, capture_output=True, text=True, check=False
        )

    shown = run("-m", "millstream", "--help")
    assert shown.returncode == 0, shown.stderr
    assert "a real-time event pipeline" in shown.stdout
    counted = run("shop.py")
    assert counted.returncode == 0, counted.stderr
    assert counted.stdout.split() == ["{'orders':", "1}", str(installed / "millstream" / "__init__.py")]
    wrong = run("-m", "millstream", "-A", "nowhere", "topics")
    assert wrong.returncode == 1
    assert "there is no service 'nowhere' here" in wrong.stderr

"""wrk, as the bench of the views runs it: which paths it asks for, and what is read from what it tells."""

import asyncio
import shutil
from collections import Counter
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bench.http import Answers, _ask
from bench.worker import BenchError

pytestmark = pytest.mark.skipif(shutil.which("wrk") is None, reason="no wrk: `make components` installs it")

PATHS = ["/tables/seen/a", "/tables/page-views//products/0001", "/tables/sales/a%20b"]


async def ask(folder: Path, missing: str = "") -> tuple[Counter[str], Counter[int], Answers]:
    """Have wrk ask a server for a second; return what it got, what it said, and what the bench read."""
    paths: Counter[str] = Counter()
    statuses: Counter[int] = Counter()

    async def answer(request: web.Request) -> web.Response:
        path = request.rel_url.raw_path
        status = 404 if path == missing else 200
        paths[path] += 1
        statuses[status] += 1
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    (folder / "paths").write_text("".join(f"{path}\n" for path in PATHS))
    async with TestServer(app) as server:
        found = await asyncio.to_thread(_ask, f"http://127.0.0.1:{server.port}", folder, 2, 1)
    return paths, statuses, found


async def test_all_paths_are_asked_for_in_turn(tmp_path: Path) -> None:
    paths, _, found = await ask(tmp_path)
    assert set(paths) == set(PATHS)
    # What is under way at the end is not counted: at most one request of each connection.
    assert max(paths.values()) - min(paths.values()) <= 1 + 2
    assert 0 <= paths.total() - found.count <= 2
    assert found.errors == 0
    # The numbers' units are right; a busy machine may take its time.
    assert found.rate == pytest.approx(found.count, rel=0.5)
    assert 0 < found.p50 <= found.p99 <= found.most < 3000


async def test_an_answer_that_is_not_200_is_an_error(tmp_path: Path) -> None:
    _, statuses, found = await ask(tmp_path, missing=PATHS[0])
    assert statuses[404] > 0
    assert 0 <= statuses[404] - found.errors <= 2


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "paths").write_text("/\n")
    with pytest.raises(BenchError, match="wrk failed: unable to connect"):
        _ask("http://127.0.0.1:9", tmp_path, 1, 1)

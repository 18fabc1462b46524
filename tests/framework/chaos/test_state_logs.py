"""State logs, and a source, that Kafka's administrator has cut."""

import pytest

from tests.framework.chaos.closed_form import ClosedForm, running
from tests.framework.chaos.kafka import cut_log, delete_before, offsets
from tests.framework.chaos.state_log import topic_of
from tests.framework.chaos.trial import Trial
from tests.framework.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


def test_r11_truncated_and_emptied_with_the_disk_still_there(closed: Service) -> None:
    load = ClosedForm(width=900, rate=6000)
    topic = topic_of(closed, load.source)
    with Trial("R11 truncated, emptied", closed, load, workers=1) as trial:
        for cut in ("half", "all", None):
            trial.feed(load.count // 3)
            trial.busy()
            trial.wait_done()
            if cut is None:
                break
            trial.workers[0].stop()
            trial.workers.clear()
            starts, ends = offsets(closed.kafka, topic)
            cut_log(
                closed.kafka,
                topic,
                {p: (starts[p] + ends[p]) // 2 if cut == "half" else ends[p] for p in ends},
            )
            trial.report.faults[f"delete-{cut}"] += 1
            assert offsets(closed.kafka, topic)[0] != starts
            trial.add("0").wait_ready()
        trial.finish()


def test_r11_emptied_with_the_disk_lost(closed: Service) -> None:
    """What no log and no disk holds is computed again, from the events."""
    load = ClosedForm(width=600, rate=6000)
    with Trial("R11 emptied, disk lost", closed, load, workers=1) as trial:
        trial.feed(load.count // 2).wait_done()
        trial.workers[0].kill()
        trial.workers.clear()
        log = topic_of(closed, load.source)
        cut_log(closed.kafka, log, offsets(closed.kafka, log)[1])
        trial.lose("0")
        worker = trial.add("0").wait_ready()
        trial.feed(load.count - load.count // 2)
        trial.report.faults["lose-all"] += 1
        trial.finish()
        assert trial.report.repeats >= load.count // 2
        assert "its state is lost" in worker.log.read_text()


def test_r11_deleted_records_of_the_source(closed: Service) -> None:
    load = ClosedForm(width=900, rate=6000)
    source = closed.topic(load.source)
    with Trial("R11 source cut", closed, load, workers=1) as trial:
        trial.feed(load.count // 2).wait_done()
        done = offsets(closed.kafka, source)[1]
        trial.workers[0].kill()
        trial.workers.clear()
        trial.feed(load.count - load.count // 2)
        trial.wait_until(lambda: trial.fed, 60, "all is sent")
        ends = offsets(closed.kafka, source)[1]
        events = running(closed)
        cut = {p: (done[p] + ends[p]) // 2 for p in ends}
        assert sum(cut.values()) > sum(done.values())
        delete_before(closed.kafka, source, cut)
        worker = trial.add("0").wait_ready()
        trial.wait_done()
        left = {(p, o) for p, o in events if o < done[p] or o >= cut[p]}
        found = [dict(r.headers)["origin"].decode().rsplit("/", 2)[1:] for r in closed.read("closed.running")]
        assert sorted((int(p), int(o)) for p, o in found) == sorted(left)
        keys = {events[origin]["key"] for origin in left}
        shown = sum(worker.get(f"/tables/totals/{key}").json()["total"]["count"] for key in keys)
        assert shown == len(left)

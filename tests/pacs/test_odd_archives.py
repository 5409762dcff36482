"""Archives that list or send less than they have, and what the watch then does."""

import datetime
import logging
import threading
from dataclasses import replace

import pytest

from mmocnet.errors import InputError
from mmocnet.pacs.connection import Connection
from mmocnet.pacs.dicomweb import PAGE, DicomWeb
from mmocnet.pacs.errors import ServerError
from mmocnet.pacs.watch import Watcher, WatchSettings

from .odd_archive import OddArchive, Series, TextMaker, served

DAY = datetime.date(2024, 1, 1)
QUICK = WatchSettings(every_s=0.05, settle_s=0, since=DAY, backoff_s=60)


@pytest.fixture
def odd():
    archive = OddArchive()
    archive.url, end = served(archive)
    yield archive
    end()


@pytest.fixture
def client(odd):
    return DicomWeb(Connection(odd.url))


@pytest.fixture
def watch(client, tmp_path):
    watchers = []

    def make(maker, **settings):
        watchers.append(Watcher(client, maker, tmp_path, replace(QUICK, **settings)))
        return watchers[-1]

    yield make
    for one in watchers:
        one.state.close()


@pytest.mark.parametrize("page", [1, 100, PAGE, 10**6])
def test_every_series_is_listed_however_many_come_at_a_time(odd, client, page):
    odd.series = [Series(number, listed=8) for number in range(45 if page == 1 else 450)]
    # A page of nothing that is of use has others behind it.
    odd.series[:10] = [Series(number, listed=8, modality="CT") for number in range(10)]
    odd.page = page
    found = {one.uid for one in client.new_series(DAY)}
    assert found == {one.series_uid for one in odd.series[10:]}


def test_a_server_that_knows_no_offset_is_not_asked_for_ever(odd, client):
    odd.series = [Series(number, listed=8) for number in range(PAGE + 50)]
    odd.pages = False
    assert len(client.new_series(DAY)) == PAGE
    assert len(odd.heard) == 2


def test_a_server_whose_pages_have_no_end_is_left(odd, client, monkeypatch):
    monkeypatch.setattr("mmocnet.pacs.dicomweb.PAGES", 1)
    odd.endless = True
    with pytest.raises(ServerError, match=f"at most {PAGE} records"):
        client.new_series(DAY)


def test_series_with_uids_that_are_none_are_counted_in_the_log(odd, client, caplog):
    odd.series = [Series(1, listed=8), Series(2, listed=8, uid="1.2.840.0012.7")]
    for _ in range(2):
        assert [one.uid for one in client.new_series(DAY)] == ["1.3.1"]
    assert caplog.text.count("1 MR series are left alone: expected valid UIDs") == 1
    assert "0012" not in caplog.text


def test_once_told_to_stop_no_more_is_asked(odd, watch, monkeypatch):
    odd.series = [Series(number) for number in range(20)]
    stop = threading.Event()
    usual = odd._instances
    monkeypatch.setattr(odd, "_instances", lambda *ask: stop.set() or usual(*ask))
    watcher = watch(TextMaker())
    watcher.look(stop)
    assert len(odd.heard) < 8
    # What was not looked at is not taken as seen.
    monkeypatch.undo()
    stop.clear()
    watcher.look(stop)
    assert len(watcher.maker.seen) == 20


@pytest.mark.parametrize("page", [2, 10**6])
def test_a_server_that_lists_no_numbers_is_asked_for_instances(odd, watch, page):
    odd.series, odd.page = [Series(1, sent=3)], page
    maker = TextMaker()
    watcher = watch(maker, settle_s=0.1)
    stop = threading.Event()
    for sent in (3, 5, 8):
        odd.series[0].sent = sent
        assert watcher.look(stop) == 1
        stop.wait(0.15)
    assert watcher.look(stop) == 0
    assert maker.seen == [("1.3.1", 8)]


def test_the_phase_of_a_server_that_lists_no_numbers_is_counted_too(odd, watch):
    odd.series = [Series(1), Series(1, uid="1.4", description="Pha_Images", sent=5)]
    maker = TextMaker(reads_phase=True)
    watcher = watch(maker, settle_s=0.1)
    stop = threading.Event()
    for sent in (5, 8):
        odd.series[1].sent = sent
        assert watcher.look(stop) == 1
        stop.wait(0.15)
    assert watcher.look(stop) == 0
    assert maker.seen == [("1.3.1", 16)]


def test_a_series_that_is_never_sent_whole_is_not_fetched_at_every_look(odd, watch, caplog):
    odd.series = [Series(1, listed=8, sent=7)]
    maker = TextMaker()
    watcher = watch(maker)
    for _ in range(5):
        watcher.look(threading.Event())
    assert odd.fetched == 1
    assert "expected 8 instances, the archive sent 7; trying again in 60 s" in caplog.text
    # What comes is taken.
    odd.series[0].sent = odd.series[0].listed = 9
    watcher.look(threading.Event())
    assert maker.seen == [("1.3.1", 9)]


def test_instances_that_come_while_a_series_is_fetched_are_waited_for(odd, watch, caplog):
    odd.series = [Series(1, listed=5, sent=8)]
    caplog.set_level(logging.INFO, "mmocnet.pacs")
    maker = TextMaker()
    watcher = watch(maker)
    fetch = watcher.archive.fetch

    def late(series, folder):
        odd.series[0].listed = 8
        return fetch(series, folder)

    watcher.archive.fetch = late
    assert watcher.look(threading.Event()) == 1
    assert "still arriving" in caplog.text
    assert maker.seen == []
    watcher.look(threading.Event())
    assert maker.seen == [("1.3.1", 8)]


def test_once_fails_where_a_series_is_left_without_a_result(odd, watch):
    odd.series = [Series(1, listed=8, sent=7), Series(2, listed=8)]
    maker = TextMaker()
    with pytest.raises(InputError, match="1 series could not"):
        watch(maker).run_once(threading.Event())
    assert maker.seen == [("1.3.2", 8)]
    # It does not wait for its time, as a watch would.
    odd.series[0].sent = 8
    watch(maker).run_once(threading.Event())
    assert maker.seen[1:] == [("1.3.1", 8)]


def test_once_says_what_failed_before(odd, watch, caplog):
    odd.series = [Series(1, listed=8)]

    def bad(_):
        raise InputError("no SWI at all")

    maker = TextMaker(before=bad)
    for _ in range(2):
        with pytest.raises(InputError, match="1 series could not"):
            watch(maker).run_once(threading.Event())
    assert len(maker.seen) == 1
    assert "failed before; not tried again" in caplog.text


def test_a_series_that_is_named_fails_where_it_gets_no_result(odd, watch):
    odd.series = [Series(1, listed=8, sent=7)]
    watcher = watch(TextMaker())
    with pytest.raises(InputError, match="could not be processed"):
        watcher.run_series("1.3.1")
    odd.series[0].sent = 8
    fetch = watcher.archive.fetch

    def grown(series, folder):
        odd.series[0].listed = 9
        return fetch(series, folder)

    watcher.archive.fetch = grown
    with pytest.raises(InputError, match="got more of it meanwhile"):
        watcher.run_series("1.3.1")
    assert odd.stored == []
    odd.series[0].sent = 9
    watcher.run_series("1.3.1")
    assert len(odd.stored) == 2


@pytest.fixture
def on_day(monkeypatch):
    """Let the watch believe that it is a day of November 2026."""

    def believe(day):
        monkeypatch.setattr("mmocnet.pacs.watch._today", lambda: datetime.date(2026, 11, day))

    return believe


def test_studies_of_days_when_no_watch_ran_are_taken(odd, watch, on_day):
    odd.series = [Series(1, listed=8, date="20261127")]
    maker = TextMaker()
    on_day(27)
    watch(maker, since=2, settle_s=30).look(threading.Event())
    odd.series.append(Series(2, listed=8, date="20261128"))
    on_day(30)
    watch(maker, since=1).look(threading.Event())
    assert [uid for uid, _ in maker.seen] == ["1.3.1", "1.3.2"]


def test_a_first_look_that_is_cut_short_misses_nothing_either(odd, watch, on_day):
    odd.series = [Series(number, listed=8, date="20261127") for number in (1, 2)]
    stop = threading.Event()
    maker = TextMaker(before=lambda _: stop.set())
    on_day(27)
    watch(maker, since=1).look(stop)
    on_day(30)
    watch(maker, since=1).look(threading.Event())
    assert [uid for uid, _ in maker.seen] == ["1.3.1", "1.3.2"]


@pytest.mark.parametrize("restarted", [False, True])
def test_what_waits_is_taken_however_old_its_study_is(odd, watch, on_day, restarted):
    odd.series = [Series(1, listed=8, sent=7, date="20261101")]
    maker = TextMaker()
    watcher = watch(maker, since=1, backoff_s=0)
    for day in (2, 10, 20):
        on_day(day)
        watcher.look(threading.Event())
        assert maker.seen == []
        watcher = watch(maker, since=1, backoff_s=0) if restarted else watcher
    odd.series[0].sent = 8
    watcher.look(threading.Event())
    assert maker.seen == [("1.3.1", 8)]
    # Nothing waits any more.
    watcher.look(threading.Event())
    assert watch(maker, since=1)._since() == datetime.date(2026, 11, 19)


def test_what_waits_and_is_removed_is_forgotten(odd, watch, on_day):
    odd.series = [Series(1, listed=8, sent=7, date="20261101")]
    watcher = watch(TextMaker(), since=1)
    on_day(2)
    watcher.look(threading.Event())
    odd.series = []
    on_day(20)
    for _ in range(2):
        watcher.look(threading.Event())
    assert watch(TextMaker(), since=1)._since() == datetime.date(2026, 11, 19)


@pytest.mark.parametrize("value", ["\u00b2", "\u0661", 10**30, "9" * 5000, -1, 1.5, True, {}, None])
def test_what_is_no_number_is_none(odd, watch, value):
    odd.series = [Series(1, more={"00200011": value, "00201209": value})]
    maker = TextMaker()
    watch(maker).look(threading.Event())
    assert maker.seen == [("1.3.1", 8)]


def test_a_look_that_fails_as_nobody_expected_does_not_end_the_watch(
    odd, watch, monkeypatch, caplog
):
    odd.series = [Series(1, listed=8)]
    stop = threading.Event()
    maker = TextMaker(before=lambda _: stop.set())
    watcher = watch(maker)

    def once(_):
        monkeypatch.undo()
        raise RuntimeError("this quotes Fake^Patient")

    monkeypatch.setattr(watcher.archive, "new_series", once)
    watcher.run(stop)
    assert maker.seen == [("1.3.1", 8)]
    assert "a look failed: RuntimeError" in caplog.text
    assert "Fake" not in caplog.text


def test_a_state_that_cannot_be_written_is_one_sentence(odd, watch):
    odd.series = [Series(1, listed=8)]
    watcher = watch(TextMaker())
    watcher.state._base.execute("PRAGMA query_only = ON")
    with pytest.raises(InputError, match="cannot write the state"):
        watcher.run_once(threading.Event())
    with pytest.raises(InputError, match="cannot write the state"):
        watcher.run_series("1.3.1")

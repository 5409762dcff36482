import errno
import hashlib
import logging
import os
import stat
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import pydicom
import pytest

from mmocnet.errors import InputError
from mmocnet.pacs.connection import Connection, Limits
from mmocnet.pacs.credentials import Credentials
from mmocnet.pacs.dicomweb import DicomWeb, FoundSeries, short
from mmocnet.pacs.errors import AccessError, ServerError
from mmocnet.pacs.sources import fitting
from mmocnet.pacs.watch import Watcher, WatchSettings

from .conftest import PASSWORD, USER

PATIENT = ("Fake", "FAKE123", "19420203", "ACC987", "Fake study")
QUICK = WatchSettings(every_s=0.05, settle_s=0, since=40_000, backoff_s=0.05)


@dataclass
class CopyMaker:
    """Gives two objects a series, whose UIDs follow from the series': no networks, no SWI."""

    reads_phase: bool = False
    swi: bool = True
    before: dict[int, object] = field(default_factory=dict)
    seen: list[int] = field(default_factory=list)
    modes: list[int] = field(default_factory=list)

    def result_uid(self, series_uid, phase_uid=None):
        return self._uid(series_uid if phase_uid is None else f"{series_uid} {phase_uid}", "SR")

    def make(self, found, folder, out, *, named):
        series_uid = found.uid
        files = sorted(folder.glob("*/*"))
        self.seen.append(len(files))
        self.modes.append(stat.S_IMODE(folder.parent.stat().st_mode))
        act = self.before.get(len(self.seen))
        if act is not None:
            act()
        if not self.swi:
            return None
        out.mkdir()
        source = pydicom.dcmread(files[0])
        series = {str(pydicom.dcmread(one).SeriesInstanceUID) for one in files}
        phase = next(iter(sorted(series - {series_uid})), None)
        uids = {"SEG": self._uid(series_uid, "SEG"), "SR": self.result_uid(series_uid, phase)}
        made = {}
        for modality, uid in uids.items():
            source.Modality, source.SOPInstanceUID = modality, uid
            source.file_meta.MediaStorageSOPInstanceUID = source.SOPInstanceUID
            source.SeriesInstanceUID = self._uid(series_uid, f"{modality} series")
            source.save_as(out / f"{modality}.dcm")
            made[source.SOPInstanceUID] = out / f"{modality}.dcm"
        return made

    def _uid(self, series_uid, role):
        digest = hashlib.sha256(f"{series_uid} {role}".encode()).digest()
        return f"2.25.{int.from_bytes(digest[:16], 'big')}"


@pytest.fixture
def watch(orthanc, tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    watchers = []

    def make(maker, settings=QUICK):
        limits = Limits(connect_s=2, read_s=10)
        archive = DicomWeb(Connection(orthanc.url, Credentials(USER, PASSWORD), limits=limits))
        watchers.append(Watcher(archive, maker, folder, settings))
        return watchers[-1]

    yield make
    for one in watchers:
        one.state.close()


def _counts(orthanc):
    return len(orthanc.stored("SEG")), len(orthanc.stored("SR"))


def test_a_series_gets_its_results_once(watch, orthanc, write_small, tmp_path):
    orthanc.upload(write_small(tmp_path / "swi"))
    maker = CopyMaker()
    for _ in range(2):
        watch(maker).run_once(threading.Event())
    assert maker.seen == [8]
    assert _counts(orthanc) == (1, 1)


def test_a_lost_state_makes_no_second_result(watch, orthanc, write_small, tmp_path, caplog):
    orthanc.upload(write_small(tmp_path / "swi"))
    maker = CopyMaker()
    first = watch(maker)
    first.run_once(threading.Event())
    first.state.close()
    (tmp_path / "state" / "state.sqlite").write_bytes(b"no database any more" * 100)
    caplog.set_level(logging.INFO, "mmocnet.pacs")
    watch(maker).run_once(threading.Event())
    assert "there already" in caplog.text
    assert maker.seen == [8]
    assert _counts(orthanc) == (1, 1)


def test_images_lie_in_a_private_folder_and_are_gone_afterwards(
    watch, orthanc, write_small, tmp_path
):
    orthanc.upload(write_small(tmp_path / "swi"))
    maker = CopyMaker()
    watch(maker).run_once(threading.Event())
    assert maker.modes == [0o700]
    assert not list((tmp_path / "state").glob("work-*"))


def test_series_of_another_name_are_left_alone(watch, orthanc, write_small, tmp_path):
    orthanc.upload(write_small(tmp_path / "other", kind="other"))
    maker = CopyMaker()
    watcher = watch(maker)
    watcher.run_once(threading.Event())
    assert maker.seen == []
    (found,) = watcher.archive.new_series(watcher._since())
    watcher.run_series(found.uid)
    assert maker.seen == [8]


def test_a_series_that_is_not_there_is_said_to_be_so(watch):
    with pytest.raises(InputError, match="none of this UID"):
        watch(CopyMaker()).run_series("1.2.3.4")


def test_a_series_that_still_arrives_waits(watch, orthanc, write_small, tmp_path):
    files = write_small(tmp_path / "swi")
    orthanc.upload(files[:5])
    maker = CopyMaker()
    watcher = watch(maker, replace(QUICK, settle_s=0.3))
    stop = threading.Event()
    assert watcher.look(stop) == 1
    orthanc.upload(files[5:])
    stop.wait(0.4)
    assert watcher.look(stop) == 1
    stop.wait(0.4)
    assert watcher.look(stop) == 0
    assert maker.seen == [8]


def test_the_phase_of_a_study_is_fetched_with_its_series_once_both_are_there(
    watch, orthanc, write_small, tmp_path, caplog
):
    swi, phase = write_small(tmp_path / "swi"), write_small(tmp_path / "phase", kind="phase")
    more = write_small(tmp_path / "more", kind="phase", SeriesInstanceUID="1.2.3")
    orthanc.upload([*swi, *phase[:5], *more[:3]])
    maker = CopyMaker(reads_phase=True)
    watcher = watch(maker, replace(QUICK, settle_s=0.3))
    stop = threading.Event()
    assert watcher.look(stop) == 1
    orthanc.upload(phase[5:])
    stop.wait(0.4)
    assert watcher.look(stop) == 1
    stop.wait(0.4)
    assert watcher.look(stop) == 0
    # Not the series with other slices.
    assert maker.seen == [16]
    watcher.state.close()
    (tmp_path / "state" / "state.sqlite").unlink()
    caplog.set_level(logging.INFO, "mmocnet.pacs")
    again = watch(maker)
    again.run_once(stop)
    assert "there already" in caplog.text
    again.run_series(str(pydicom.dcmread(swi[0]).SeriesInstanceUID))
    assert maker.seen == [16]
    assert _counts(orthanc) == (1, 1)


def test_a_phase_that_comes_after_the_result_makes_no_second_one(
    watch, orthanc, write_small, tmp_path
):
    orthanc.upload(write_small(tmp_path / "swi"))
    maker = CopyMaker(reads_phase=True)
    watch(maker).run_once(threading.Event())
    orthanc.upload(write_small(tmp_path / "phase", kind="phase"))
    (tmp_path / "state" / "state.sqlite").unlink()
    watch(maker).run_once(threading.Event())
    assert maker.seen == [8]
    assert _counts(orthanc) == (1, 1)


def test_a_phase_that_comes_while_its_series_is_worked_on_is_waited_for(
    watch, orthanc, write_small, tmp_path, monkeypatch
):
    orthanc.upload(write_small(tmp_path / "swi"))
    maker = CopyMaker(reads_phase=True)
    watcher = watch(maker)
    fetch = watcher.archive.fetch

    def late(series, folder):
        monkeypatch.undo()
        orthanc.upload(write_small(tmp_path / "phase", kind="phase"))
        return fetch(series, folder)

    monkeypatch.setattr(watcher.archive, "fetch", late)
    watcher.look(threading.Event())
    assert maker.seen == []
    watcher.look(threading.Event())
    assert maker.seen == [16]


def test_a_phase_that_cannot_be_fetched_is_left_out_in_the_end(
    watch, orthanc, write_small, tmp_path, monkeypatch, caplog
):
    swi = write_small(tmp_path / "swi")
    orthanc.upload([*swi, *write_small(tmp_path / "phase", kind="phase")])
    uid = str(pydicom.dcmread(swi[0]).SeriesInstanceUID)
    maker = CopyMaker(reads_phase=True)
    watcher = watch(maker, replace(QUICK, backoff_s=0))
    fetch = watcher.archive.fetch

    def some(series, folder):
        if series.uid != uid:
            raise ServerError("no")
        return fetch(series, folder)

    monkeypatch.setattr(watcher.archive, "fetch", some)
    for _ in range(4):
        watcher.look(threading.Event())
    assert maker.seen == [8]
    assert caplog.text.count("failed: no; trying again") == 2
    assert "its phase is not used: no" in caplog.text
    # Who names the series is not told to come again.
    orthanc.empty()
    orthanc.upload([*swi, *sorted((tmp_path / "phase").iterdir())])
    watcher.run_series(uid)
    assert maker.seen == [8, 8]


def test_a_result_is_known_although_its_phase_has_grown(watch, orthanc, write_small, tmp_path):
    phase = write_small(tmp_path / "phase", kind="phase")
    orthanc.upload([*write_small(tmp_path / "swi"), *phase])
    maker = CopyMaker(reads_phase=True)
    watch(maker).run_once(threading.Event())
    more = pydicom.dcmread(phase[0])
    more.SOPInstanceUID = more.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    more.save_as(tmp_path / "more.dcm")
    orthanc.upload([tmp_path / "more.dcm"])
    (tmp_path / "state" / "state.sqlite").unlink()
    watch(maker).run_once(threading.Event())
    assert maker.seen == [16]
    assert _counts(orthanc) == (1, 1)


def test_the_phase_nearest_in_number_comes_first():
    swi = FoundSeries("1", "1.1", "SWI", 8, 5)
    numbers = (1, None, 9, 4, 6, 12)
    phases = [FoundSeries("1", f"1.2.{n}", "pha", 8, one) for n, one in enumerate(numbers)]
    phases.append(FoundSeries("1", "1.3", "pha", 7, 5))
    assert [one.number for one in fitting(phases, swi)] == [4, 6, 1, 9]


def test_phase_of_several_echoes_is_a_whole_number_of_times_as_long():
    swi = FoundSeries("1", "1.1", "SWI", 8, 5)
    phases = [FoundSeries("1", f"1.2.{n}", "pha", n, 6) for n in (24, 12, 4)]
    assert [one.instances for one in fitting(phases, swi)] == [24]


def test_instances_that_come_after_the_result_change_nothing(
    watch, orthanc, write_small, tmp_path, caplog
):
    files = write_small(tmp_path / "swi")
    orthanc.upload(files[:5])
    maker = CopyMaker()
    watcher = watch(maker)
    watcher.look(threading.Event())
    orthanc.upload(files[5:])
    for _ in range(3):
        watcher.look(threading.Event())
    assert maker.seen == [5]
    assert caplog.text.count("came after its result") == 1
    # Each start says it again, and who asks for it alone is not told that all is well.
    for told in (2, 3):
        with pytest.raises(InputError, match="1 series have more instances than their result"):
            watch(maker).run_once(threading.Event())
        assert caplog.text.count("came after its result") == told
    uid = str(pydicom.dcmread(files[0]).SeriesInstanceUID)
    with pytest.raises(InputError, match="delete its SEG, SR and PDF"):
        watcher.run_series(uid)
    orthanc.empty()
    orthanc.upload(files)
    watcher.run_series(uid)
    assert maker.seen == [5, 8]
    watch(maker).run_once(threading.Event())


def test_a_series_of_no_swi_is_looked_at_again_when_it_has_grown(
    watch, orthanc, write_small, tmp_path, caplog
):
    files = write_small(tmp_path / "swi")
    orthanc.upload(files[:5])
    maker = CopyMaker(swi=False)
    watch(maker).run_once(threading.Event())
    watch(maker).run_once(threading.Event())
    assert maker.seen == [5]
    orthanc.upload(files[5:])
    watch(maker).run_once(threading.Event())
    assert maker.seen == [5, 8]
    assert "came after" not in caplog.text


def test_a_server_killed_in_the_middle_gets_the_results_once(
    watch, orthanc, write_small, tmp_path, caplog
):
    orthanc.upload(write_small(tmp_path / "swi"))
    stop = threading.Event()
    restart = threading.Timer(1.0, orthanc.start)

    def power_cut():
        orthanc.kill()
        restart.start()

    def wait_for_results():
        while not (len(maker.seen) > 1 and _counts(orthanc) == (1, 1)) and not late.is_set():
            late.wait(0.05)
        stop.set()

    late = threading.Event()
    clock = threading.Timer(20, late.set)
    clock.start()
    maker = CopyMaker(before={1: power_cut, 2: threading.Thread(target=wait_for_results).start})
    watch(maker).run(stop)
    clock.cancel()
    assert "cannot reach" in caplog.text
    assert maker.seen == [8, 8]
    assert not late.is_set()
    assert _counts(orthanc) == (1, 1)


def test_one_series_that_fails_does_not_stop_the_others(
    watch, orthanc, write_small, tmp_path, caplog
):
    for number in range(3):
        orthanc.upload(write_small(tmp_path / str(number), SeriesInstanceUID=f"1.2.{number}"))

    def bad():
        raise RuntimeError("this quotes Fake^Patient")

    maker = CopyMaker(before={2: bad})
    with pytest.raises(InputError, match="1 series could not"):
        watch(maker).run_once(threading.Event())
    assert maker.seen == [8, 8, 8]
    assert _counts(orthanc) == (2, 2)
    assert "RuntimeError" in caplog.text
    assert "Fake" not in caplog.text


def test_what_failed_is_tried_again_later_and_not_for_ever(watch, orthanc, write_small, tmp_path):
    orthanc.upload(write_small(tmp_path / "swi"))

    def bad():
        raise RuntimeError

    maker = CopyMaker(before=dict.fromkeys(range(1, 10), bad))
    watcher = watch(maker, replace(QUICK, backoff_s=0.2, attempts=2))
    stop = threading.Event()
    for pause_s, tries in ((0, 1), (0, 1), (0.3, 2), (0.5, 2)):
        stop.wait(pause_s)
        watcher.look(stop)
        assert len(maker.seen) == tries


def _failing_with(code):
    """What a maker does whose files cannot be written: the system's own error, in a sentence."""

    def write():
        try:
            if code == errno.ENOSPC:
                Path("/dev/full").write_bytes(b"labels")
            raise OSError(code, os.strerror(code))
        except OSError as error:
            raise InputError(f"cannot write to 'out': {error.strerror}") from error

    return write


@pytest.mark.parametrize(("code", "tries"), [(errno.ENOSPC, 5), (errno.EIO, 3)])
def test_what_the_disk_refuses_is_tried_again(watch, orthanc, write_small, tmp_path, code, tries):
    orthanc.upload(write_small(tmp_path / "swi"))
    maker = CopyMaker(before=dict.fromkeys(range(1, 5), _failing_with(code)))
    watcher = watch(maker, replace(QUICK, backoff_s=0, attempts=3))
    for _ in range(6):
        watcher.look(threading.Event())
    # A full disk as often as it takes; another error of the system may be of the series.
    assert len(maker.seen) == tries
    assert _counts(orthanc) == ((1, 1) if code == errno.ENOSPC else (0, 0))


def test_what_a_decoder_says_is_said_once(watch, orthanc, write_small, tmp_path):
    orthanc.upload(write_small(tmp_path / "swi"))

    def bad():
        raise InputError("cannot read a file of series 3") from OSError("broken data stream")

    maker = CopyMaker(before={1: bad})
    watcher = watch(maker, replace(QUICK, backoff_s=0))
    for _ in range(3):
        watcher.look(threading.Event())
    assert maker.seen == [8]


def test_a_stop_ends_after_the_series_at_hand(watch, orthanc, write_small, tmp_path):
    for number in range(2):
        orthanc.upload(write_small(tmp_path / str(number), SeriesInstanceUID=f"1.2.{number}"))
    stop = threading.Event()
    maker = CopyMaker(before={1: stop.set})
    watch(maker).run(stop)
    assert maker.seen == [8]
    assert _counts(orthanc) == (1, 1)


def test_a_wrong_password_ends_the_watch_and_a_dead_server_does_not(orthanc, tmp_path, caplog):
    archive = DicomWeb(Connection(orthanc.url, Credentials(USER, "wrong")))
    watcher = Watcher(archive, CopyMaker(), tmp_path, QUICK)
    with pytest.raises(AccessError):
        watcher.run(threading.Event())
    orthanc.kill()
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    watcher.run(stop)
    assert caplog.text.count("cannot reach") > 1
    with pytest.raises(ServerError, match="cannot reach"):
        watcher.run_once(threading.Event())
    watcher.state.close()


def test_a_state_that_cannot_be_written_does_not_end_the_watch(
    watch, orthanc, write_small, tmp_path, caplog
):
    orthanc.upload(write_small(tmp_path / "swi"))
    maker = CopyMaker()
    watcher = watch(maker)
    watcher.state._base.execute("PRAGMA query_only = ON")
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    watcher.run(stop)
    assert caplog.text.count("cannot write the state") > 1
    assert maker.seen == []


def test_nothing_of_the_patient_is_logged_or_kept(watch, orthanc, write_small, tmp_path, caplog):
    files = write_small(tmp_path / "swi")
    orthanc.upload(files)
    caplog.set_level(logging.DEBUG, "mmocnet.pacs")
    watch(CopyMaker()).run_once(threading.Event())
    header = pydicom.dcmread(files[0])
    uids = (header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID)
    kept = b"".join(one.read_bytes() for one in (tmp_path / "state").iterdir() if one.is_file())
    assert short(header.SeriesInstanceUID) in caplog.text
    for secret in (*PATIENT, *uids, PASSWORD):
        assert secret not in caplog.text
        assert secret.encode() not in kept
    assert Path(tmp_path / "state" / "state.sqlite").stat().st_mode & 0o077 == 0

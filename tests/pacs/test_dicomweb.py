import datetime

import pydicom
import pytest

from mmocnet.errors import InputError
from mmocnet.pacs.connection import Connection, Limits
from mmocnet.pacs.credentials import Credentials
from mmocnet.pacs.dicomweb import DicomWeb
from mmocnet.pacs.errors import AccessError, ServerError

from .conftest import PASSWORD, USER

DAY = datetime.date(2024, 1, 1)


@pytest.fixture
def archive(orthanc):
    return DicomWeb(Connection(orthanc.url, Credentials(USER, PASSWORD)))


def test_an_empty_archive_has_no_series(archive):
    assert archive.new_series(DAY) == []


def test_a_series_is_found_with_its_number_of_instances(archive, orthanc, write_small, tmp_path):
    files = write_small(tmp_path / "swi")
    orthanc.upload(files)
    header = pydicom.dcmread(files[0])
    (found,) = archive.new_series(DAY)
    assert (found.study_uid, found.uid) == (header.StudyInstanceUID, header.SeriesInstanceUID)
    assert (found.description, found.instances) == (header.SeriesDescription, len(files))
    assert archive.series(found.uid) == found


def test_older_studies_and_other_modalities_are_not_asked_for(
    archive, orthanc, write_small, tmp_path
):
    orthanc.upload(write_small(tmp_path / "swi"))
    ct = write_small(tmp_path / "ct", Modality="CT", SeriesInstanceUID="1.2.3")
    orthanc.upload(ct)
    assert len(archive.new_series(DAY)) == 1
    assert archive.new_series(datetime.date(2024, 1, 3)) == []


def test_many_series_come_in_pages(archive, orthanc, write_small, tmp_path, monkeypatch):
    monkeypatch.setattr("mmocnet.pacs.dicomweb.PAGE", 2)
    for number in range(5):
        files = write_small(tmp_path / str(number), SeriesInstanceUID=f"1.2.{number}")
        orthanc.upload(files[:1])
    assert {one.uid for one in archive.new_series(DAY)} == {f"1.2.{n}" for n in range(5)}


def test_what_is_fetched_is_what_was_stored(archive, orthanc, write_small, tmp_path):
    files = write_small(tmp_path / "swi", transfer_syntax="1.2.840.10008.1.2.5")
    orthanc.upload(files)
    (found,) = archive.new_series(DAY)
    (tmp_path / "back").mkdir()
    back = archive.fetch(found, tmp_path / "back")
    assert sorted(one.read_bytes() for one in back) == sorted(one.read_bytes() for one in files)


def test_a_series_that_is_too_large_is_not_taken(orthanc, write_small, tmp_path):
    files = write_small(tmp_path / "swi")
    orthanc.upload(files)
    for limits in (Limits(series_bytes=4000), Limits(instances=7)):
        archive = DicomWeb(Connection(orthanc.url, Credentials(USER, PASSWORD), limits=limits))
        (found,) = archive.new_series(DAY)
        folder = tmp_path / str(limits.instances)
        folder.mkdir()
        with pytest.raises(ServerError, match="at most"):
            archive.fetch(found, folder)


def test_an_object_is_stored_and_stored_again(archive, orthanc, write_small, tmp_path):
    files = write_small(tmp_path / "swi")
    header = pydicom.dcmread(files[0])
    study, uid = header.StudyInstanceUID, header.SOPInstanceUID
    assert not archive.has_instance(study, uid)
    for _ in range(2):
        archive.store(study, {uid: files[0]})
        assert archive.has_instance(study, uid)
    assert orthanc.stored("MR") == [files[0].read_bytes()]


def test_what_is_not_dicom_is_not_stored(archive, tmp_path):
    (tmp_path / "text").write_bytes(b"no DICOM" * 40)
    with pytest.raises(ServerError):
        archive.store("1.2.3", {"1.2.3.4": tmp_path / "text"})


@pytest.mark.parametrize("credentials", [None, Credentials(USER, "wrong"), Credentials(token="x")])
def test_without_the_right_password_nobody_is_let_in(orthanc, credentials):
    archive = DicomWeb(Connection(orthanc.url, credentials))
    with pytest.raises(AccessError, match="does not let us in"):
        archive.new_series(DAY)


def test_a_uid_that_is_none_reaches_no_address(archive):
    for text in ("1.2/../3", "", "1.2.03", "*", "1." + "2" * 64):
        with pytest.raises(InputError, match="UID"):
            archive.series(text)

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pydicom
import pytest

from mmocnet.cli import main
from mmocnet.pacs.folder import private_folder
from mmocnet.volume import Volume

from .conftest import PASSWORD, USER

PATIENT = ("Fake", "FAKE123", "19420203", "ACC987", "Hospital")


@pytest.fixture
def study(write_dicom_series, rng, tmp_path):
    spacing_mm, shape = np.array([2.0, 2.0, 4.0]), (72, 88, 32)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    radius = ((grid - (np.array(shape) - 1) / 2) * spacing_mm / [62.0, 75.0, 55.0]) ** 2
    image = (500 + 30 * rng.standard_normal(shape)) * (radius.sum(axis=-1) < 1)
    volume = Volume(image.astype(np.float32), np.diag([*spacing_mm, 1.0]))
    return write_dicom_series(tmp_path / "swi", volume)


@pytest.fixture
def words(orthanc, tiny, tmp_path):
    start = ["pacs", "--url", orthanc.url, "--model", tiny, "--state", str(tmp_path / "state")]
    return [*start, "--since", "2024-01-01", "--settle", "0", "--no-location"]


def _start(words):
    environ = os.environ | {"MMOCNET_PACS_USER": USER, "MMOCNET_PACS_PASSWORD": PASSWORD}
    return subprocess.Popen(
        [sys.executable, "-m", "mmocnet", *words], env=environ, stderr=subprocess.PIPE, text=True
    )


def _read_until(process, text):
    lines = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"{text!r} was not said: {''.join(lines)}")


def test_no_lesion_gives_a_report_that_says_so_and_no_segmentation(
    words, login, orthanc, study, capsys
):
    orthanc.upload(study)
    assert main([*words, "--once"]) == 0
    assert orthanc.stored("SEG") == []
    assert len(orthanc.stored("SR")) == 1
    said = capsys.readouterr()
    header = pydicom.dcmread(study[0])
    uids = (header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID)
    assert "stored 1 objects" in said.err
    for secret in (*PATIENT, *uids, PASSWORD):
        assert secret not in said.err + said.out


def test_a_projection_of_swi_is_left_alone(words, login, orthanc, write_small, tmp_path, capsys):
    orthanc.upload(write_small(tmp_path / "minip", kind="minip", SeriesDescription="SWI_mIP"))
    assert main([*words, "--once"]) == 0
    assert "no SWI" in capsys.readouterr().err
    assert orthanc.stored("SR") == []


def test_a_series_that_cannot_be_segmented_exits_2_and_says_nothing_of_the_patient(
    words, login, orthanc, write_small, tmp_path, capsys
):
    # A date that is none, which pydicom quotes in a warning.
    with pytest.warns(UserWarning, match="VR DA"):
        files = write_small(tmp_path / "phase", kind="phase", PatientBirthDate="1942-02-03 Fake")
    orthanc.upload(files)
    header = pydicom.dcmread(files[0])
    assert main([*words, "--series", str(header.SeriesInstanceUID)]) == 2
    said = capsys.readouterr().err
    assert "not tried again" in said
    for secret in (*PATIENT, "1942", header.StudyInstanceUID, header.SeriesInstanceUID):
        assert secret not in said


def test_one_series_is_taken_by_its_uid(words, login, orthanc, study):
    orthanc.upload(study)
    uid = str(pydicom.dcmread(study[0]).SeriesInstanceUID)
    for _ in range(2):
        assert main([*words, "--series", uid]) == 0
    assert len(orthanc.stored("SR")) == 1


def test_a_process_killed_in_the_middle_leaves_no_double_and_no_images(
    words, login, orthanc, study, tmp_path
):
    orthanc.upload(study)
    process = _start([*words, "--once"])
    _read_until(process, "segmenting")
    process.kill()
    process.communicate()
    assert orthanc.stored("SR") == []
    assert list((tmp_path / "state").glob("work-*/study/series/*.dcm"))
    for _ in range(2):
        assert main([*words, "--once"]) == 0
        assert len(orthanc.stored("SR")) == 1
        assert not list((tmp_path / "state").glob("work-*"))


def _terminate_when(true):
    """Send ourselves SIGTERM as soon as something is so."""

    def wait():
        end = time.monotonic() + 60
        while not true() and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_sigterm_ends_after_the_series_at_hand(words, login, orthanc, study, tmp_path):
    orthanc.upload(study)
    state = tmp_path / "state"
    thread = _terminate_when(lambda: any(state.glob("work-*/study/series/*.dcm")))
    before = signal.getsignal(signal.SIGTERM)
    assert main([*words, "--every", "600"]) == 0
    thread.join()
    assert len(orthanc.stored("SR")) == 1
    assert signal.getsignal(signal.SIGTERM) == before


def test_sigterm_ends_a_wait_at_once(words, login, orthanc, tmp_path):
    thread = _terminate_when((tmp_path / "state" / "state.sqlite").exists)
    start = time.monotonic()
    assert main([*words, "--every", "600"]) == 0
    assert time.monotonic() - start < 60
    thread.join()


def test_a_wrong_password_is_one_sentence(words, orthanc, monkeypatch, capsys):
    monkeypatch.setenv("MMOCNET_PACS_USER", USER)
    monkeypatch.setenv("MMOCNET_PACS_PASSWORD", "wrong-one")
    for mode in (["--once"], ["--series", "1.2.3"], []):
        assert main([*words, *mode]) == 2
        said = capsys.readouterr().err
        assert len(said.strip().splitlines()) == 1
        assert "does not let us in" in said
        assert "wrong-one" not in said


def test_two_cannot_share_a_state(words, login, tmp_path, capsys):
    with private_folder(tmp_path / "state"):
        assert main([*words, "--once"]) == 2
    assert "another mmocnet pacs" in capsys.readouterr().err


def test_a_state_that_others_can_read_is_refused(words, login, tmp_path, capsys):
    (tmp_path / "state").mkdir(mode=0o755)
    assert main([*words, "--once"]) == 2
    assert "mode 0700" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [("--every", "0"), ("--settle", "-1"), ("--since", "now"), ("--threads", "0")],
)
def test_an_option_out_of_range_exits_2(words, option, value, capsys):
    assert main([*words, option, value, "--once"]) == 2
    assert option in capsys.readouterr().err


def test_help_says_research_use_and_imports_nothing_heavy():
    code = (
        "import sys; from mmocnet.cli import main\n"
        "try: main(['pacs', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'requests', 'pydicom'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0
    assert b"Research use only" in done.stdout

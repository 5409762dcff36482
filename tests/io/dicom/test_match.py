import pytest

from mmocnet.io.dicom.find import choose_swi, find_series
from mmocnet.io.dicom.match import matching_phase
from mmocnet.volume import Volume


@pytest.fixture
def study(tmp_path, write_dicom_series, volume, phase):
    """Write SWI at 20 ms and phase at other echo times, in one series."""

    def write(*phase_ms, swi_ms=20.0):
        write_dicom_series(tmp_path, volume, EchoTime=swi_ms)
        for number, echo_ms in enumerate(phase_ms):
            turned = phase.like(phase.array * (1 - 0.01 * number))
            folder, tags = tmp_path / str(echo_ms), {"SeriesInstanceUID": "1.2.3"}
            write_dicom_series(folder, turned, kind="phase", EchoTime=echo_ms, **tags)
        return find_series(tmp_path)

    return write


def test_phase_is_of_the_echo_of_the_swi(study):
    found = study(7.5, 20.0, 32.5)
    phase, doubts = matching_phase(found, choose_swi(found))
    assert (phase.echo_ms, doubts) == (20.0, ())


def test_phase_of_another_echo_alone_is_left_out_aloud(study):
    found = study(7.5, 35.0)
    told = (
        "the phase in series 2 is not used: expected the echo time of series 3, 20 ms, got 7.5 ms"
    )
    assert matching_phase(found, choose_swi(found)) == (None, (told,))


def test_phase_that_states_no_echo_comes_after_that_of_the_same(study):
    found = study(None, 20.4)
    assert matching_phase(found, choose_swi(found))[0].echo_ms == 20.4
    alone = [one for one in found if one.echo_ms != 20.4]
    assert matching_phase(alone, choose_swi(found))[0].kind == "phase"


def test_a_stray_image_does_not_cost_the_phase(tmp_path, study, write_dicom_series, volume):
    swi = choose_swi(study(20.0))
    stray = Volume(volume.array[::2, ::2, :1], volume.affine)
    write_dicom_series(tmp_path / "a", stray, SeriesInstanceUID=swi.uid)
    found = find_series(tmp_path)
    assert matching_phase(found, choose_swi(found))[0].number == 2

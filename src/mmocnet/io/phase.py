"""Read the phase image that was given for a scan."""

from pathlib import Path

from mmocnet.errors import InputError
from mmocnet.io import picture
from mmocnet.io.read import Scan, may_be_dicom, read_scan
from mmocnet.volume import on_grid


def read_phase(path: Path, scan: Scan) -> Scan:
    """Return a phase image on a scan's grid, in the file's unit.

    Args:
        path: NIfTI, or DICOM as a file, a folder or a zip. Of several phase series the one on the
            scan's grid is taken whose echo time is nearest to the scan's.
        scan: The SWI.

    Returns:
        The phase. Its axes run as the scan's do: dcm2niix turns rows round.

    Raises:
        InputError: If it cannot be read or lies on another grid.
    """
    if path.name.lower().endswith(picture.SUFFIXES):
        raise InputError(f"expected phase as .nii, .nii.gz or DICOM, got {path.name}")
    if may_be_dicom(path):
        return _from_dicom(path, scan)
    phase = read_scan(path)
    return Scan(on_grid(phase.volume, scan.volume, "phase"), phase.kind, phase.source, phase.sha256)


def _from_dicom(path: Path, scan: Scan) -> Scan:
    from mmocnet.io.dicom.find import find_series
    from mmocnet.io.dicom.match import echo_distance_ms
    from mmocnet.io.dicom.volume import read_series

    found = find_series(path)
    named = [one for one in found if one.kind == "phase"]
    # A series alone is believed to be what it was given for; its values will tell.
    phases = found if len(found) == 1 else named
    problem = InputError(f"expected a phase series in {path.name}, got none of {len(found)} series")
    for number, one in enumerate(
        sorted(phases, key=lambda one: echo_distance_ms(one, 1000 * scan.echo_s))
    ):
        try:
            volume, source, _ = read_series(one)
            volume = on_grid(volume, scan.volume, "phase")
        except InputError as error:
            # Of the nearest echo, if none can be used.
            problem = error if number == 0 else problem
        else:
            return Scan(volume, scan.kind, "dicom", source.sha256, (), source)
    raise problem

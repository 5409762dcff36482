"""A BIDS dataset of a user's lesion-free scans with implanted lesions."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mmocnet import __version__
from mmocnet.errors import InputError
from mmocnet.io.dataset import BIDS_VERSION, write_json, write_text
from mmocnet.io.digest import file_sha256
from mmocnet.simulate.bids import NOTICE, RAW, REFERENCE, write_raw, write_reference
from mmocnet.simulate.dataset import UNFINISHED, SubjectResult, failure, place_subject
from mmocnet.simulate.implant_find import ScanFiles
from mmocnet.simulate.implant_read import RealScan, file_hashes, read_echo, read_real_scan
from mmocnet.simulate.implant_study import ImplantSettings, implant_study
from mmocnet.simulate.own_folder import check_own, record_of
from mmocnet.simulate.record import SimulatedStudy
from mmocnet.simulate.signal import Echo
from mmocnet.simulate.study import SIMULATOR_VERSION

MAKER, RECORD = "mmocnet simulate --implant", "Implantation"
"""What the dataset says that it was made by, and the key under which a subject says how."""
MASK = "Brain mask, as given with the scan or as found in its magnitude."
README = f"""# Real scans with implanted microbleeds

Lesion-free scans of people, into whose complex signal microbleeds and mimics were implanted by
physics with mmocnet {__version__} (simulator version {SIMULATOR_VERSION}). The images are real
but for the implants: licence, consent and whoever may see them are those of the scans that were
given. {NOTICE}

- `acq-swi_T2starw`: the weighted image made from the implanted signal.
- `acq-swiTwin_T2starw`: the same without the microbleeds, mimics left in.
- `acq-gre_part-mag_T2starw`, `acq-gre_part-phase_T2starw`: magnitude and phase (rad, positive in
  veins along the field) with the implants.
- `derivatives/reference`: instances as a reader outlines them (`desc-cmb_dseg`), where the blood
  is (`desc-source_dseg`), the brain mask, and a table of microbleeds and mimics. Nothing that
  the scan held itself is in the reference.

`Implantation` in a sidecar holds the hashes of the files that were given, the seed and settings.
"""


def _sidecar(scan: RealScan, study: SimulatedStudy, settings: ImplantSettings) -> dict[str, Any]:
    return _echo_record(scan.echo) | {
        RECORD: {
            "Description": "Real scan with implanted microbleeds and mimics.",
            "OriginalSHA256": scan.sha256,
            "PhaseFrom": scan.phase_from,
            "DatasetSeed": settings.seed,
            "Seed": study.seed,
            "Settings": asdict(settings),
            "Protocol": asdict(study.protocol),
            "Package": f"mmocnet {__version__}",
            "SimulatorVersion": SIMULATOR_VERSION,
        },
    }


def _echo_record(echo: Echo) -> dict[str, float]:
    return {"MagneticFieldStrength": echo.field_t, "EchoTime": round(echo.te_ms / 1000, 6)}


def subject_label(visits: Sequence[ScanFiles]) -> str:
    """Return the BIDS label of a subject: its own, or else the start of a magnitude's hash.

    The names of simply named files and of their folders may name a person, and a hash of a name
    can be guessed; that of an image, the first visit's, tells nothing.
    """
    first = visits[0]
    if first.subject is not None:
        return first.subject
    return file_sha256(first.magnitude)[:8]


def by_subject(scans: Sequence[ScanFiles]) -> dict[str, list[ScanFiles]]:
    """Return the visits of each subject, so that data can be split by it.

    Simply named scans of one `top` are visits of one subject, 01, 02 and so on.

    Raises:
        InputError: If there are two scans of a visit.
    """
    people: dict[tuple[str | Path | None, ...], list[ScanFiles]] = {}
    for scan in scans:
        is_loose = scan.subject is None and scan.top is None
        who = scan.subject, scan.top, scan.magnitude if is_loose else None
        people.setdefault(who, []).append(scan)
    known: dict[str, list[ScanFiles]] = {}
    for visits in people.values():
        several = visits[0].subject is None and len(visits) > 1
        known.setdefault(subject_label(visits), []).extend(
            replace(one, session=f"{n:02d}") if several else one for n, one in enumerate(visits, 1)
        )
    for label, visits in known.items():
        if len({visit.session for visit in visits}) < len(visits):
            raise InputError(f"expected one scan a visit, got two for sub-{label}")
    return known


def implant_subjects(
    out: Path, scans: Sequence[ScanFiles], settings: ImplantSettings
) -> Iterator[SubjectResult]:
    """Implant into each subject as the result is iterated over, and yield what became of it.

    A subject whose folder is there is not made again.

    Args:
        out: Root of the dataset; made if missing.
        scans: What `find_scans` returned.
        settings: What to implant.

    Raises:
        InputError: If the folder holds anything of another dataset, or a subject that other
            settings, other scans or another version of the simulator made.
    """
    subjects = by_subject(scans)
    check_own(out, MAKER, RECORD)
    for label, visits in subjects.items():
        if (out / f"sub-{label}").is_dir():
            _check_same(out, label, settings)
            for visit in visits:
                _check_scan(out, label, visit, settings)
    return _results(out, subjects, settings)


def _results(
    out: Path, subjects: dict[str, list[ScanFiles]], settings: ImplantSettings
) -> Iterator[SubjectResult]:
    out.mkdir(parents=True, exist_ok=True)
    # First of all, so that a run that is killed can be told to be ours.
    write_root(out)
    try:
        for label, visits in subjects.items():
            if (out / f"sub-{label}").is_dir():
                yield SubjectResult(label, "present")
            else:
                yield _write_subject(out, label, visits, settings)
    finally:
        shutil.rmtree(out / UNFINISHED, ignore_errors=True)
        write_root(out)


def _check_same(out: Path, label: str, settings: ImplantSettings) -> None:
    wanted = json.loads(json.dumps(asdict(settings)))  # JSON has no tuples
    if record_of(out / f"sub-{label}", RECORD)["Settings"] != wanted:
        raise InputError(
            f"expected an empty folder or the same implants to resume, got sub-{label} of "
            f"another seed or other settings in {out.name}"
        )


def _check_scan(out: Path, label: str, visit: ScanFiles, settings: ImplantSettings) -> None:
    anat, stem = _place(label, visit)
    written = out / anat / f"{stem}_acq-swi_T2starw.json"
    there = json.loads(written.read_text(encoding="utf-8")) if written.is_file() else {}
    echo = _echo_record(read_echo(visit, settings.overrides))
    hashes = there.get(RECORD, {}).get("OriginalSHA256")
    if hashes != file_hashes(visit) or any(there[key] != value for key, value in echo.items()):
        raise InputError(
            f"expected an empty folder or the same scans to resume, got {stem} of another scan, "
            f"or of another echo time or field, in {out.name}"
        )


def _write_subject(
    out: Path, label: str, visits: Sequence[ScanFiles], settings: ImplantSettings
) -> SubjectResult:
    folder, scan = out / UNFINISHED / f"{label}-{os.getpid()}", ""
    try:
        for visit in visits:
            scan = Path(*visit.magnitude.parts[-2:]).as_posix()
            _write_visit(folder, label, visit, settings)
        place_subject(folder, out, label)
    except Exception as error:  # one subject's failure is reported, the others go on
        return failure(label, error, scan)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return SubjectResult(label, "written")


def _write_visit(folder: Path, label: str, visit: ScanFiles, settings: ImplantSettings) -> None:
    scan = read_real_scan(visit, settings.overrides)
    study = implant_study(scan, settings)
    anat, stem = _place(label, visit)
    write_raw(folder / RAW / anat, stem, study, _sidecar(scan, study, settings))
    write_reference(folder / REFERENCE / anat, stem, study, settings.images == "all", MASK)


def _place(label: str, visit: ScanFiles) -> tuple[Path, str]:
    """Return the folder of a visit in the dataset, and how its files' names begin."""
    parts = [f"sub-{label}"] + ([] if visit.session is None else [f"ses-{visit.session}"])
    return Path(*parts) / "anat", "_".join(parts)


def write_root(out: Path) -> None:
    """Write the dataset's own files."""
    made = {
        "Name": "mmocnet",
        "Version": __version__,
        "Description": f"{MAKER}, simulator version {SIMULATOR_VERSION}",
    }
    about = {
        "Name": "Real scans with implanted microbleeds",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "License": "As of the scans that were given; this dataset carries real images.",
        "GeneratedBy": [made],
    }
    write_json(out / "dataset_description.json", about)
    write_text(out / "README.md", README)
    write_text(out / ".bidsignore", f"{UNFINISHED}/\n")
    reference = out / "derivatives" / "reference"
    links = {"DatasetLinks": {"raw": "../.."}, "SourceDatasets": [{"URL": "../.."}]}
    name = {"Name": "Exact references of implanted microbleeds", "DatasetType": "derivative"}
    write_json(reference / "dataset_description.json", about | name | links)
    write_text(reference / "README.md", f"# Exact references\n\nSee `../../README.md`. {NOTICE}\n")

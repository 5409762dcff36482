"""A simulated study as BIDS files: raw images, references, tables, and the dataset's own files.

Reference: the Brain Imaging Data Structure 1.10, bids-specification.readthedocs.io.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from mmocnet import __version__
from mmocnet.io.dataset import BIDS_VERSION, read_tsv, write_json, write_text, write_tsv
from mmocnet.io.nifti import set_affine, write_nifti
from mmocnet.simulate.changes import SESSIONS, changes_path, read_counts, write_changes
from mmocnet.simulate.own_folder import record_of
from mmocnet.simulate.record import SimulatedStudy
from mmocnet.simulate.study import SIMULATOR_VERSION
from mmocnet.simulate.testset import SubjectPlan
from mmocnet.simulate.visits import SimulatedVisits
from mmocnet.volume import Volume

RAW = "raw"
REFERENCE = "reference"
MAKER, RECORD = "mmocnet simulate", "Simulation"
"""What the dataset says that it was made by, and the key under which a subject says how."""
MASK = "Brain mask, exact."
NOTICE = "Research use only - not a medical device."

TABLE_COLUMNS = {
    "index": "Value in both label images; 0 for a mimic, which is in neither.",
    "name": "Name of the microbleed or mimic.",
    "kind": "microbleed, or which mimic.",
    "x_mm": "Centre, world x (right), mm.",
    "y_mm": "Centre, world y (anterior), mm.",
    "z_mm": "Centre, world z (superior), mm.",
    "mni_x_mm": "Centre in MNI152 through the true deformation, x, mm.",
    "mni_y_mm": "Centre in MNI152 through the true deformation, y, mm.",
    "mni_z_mm": "Centre in MNI152 through the true deformation, z, mm.",
    "anatomy": "Anatomical class at the centre.",
    "chi_ppm": "Susceptibility of the source relative to tissue, ppm.",
    "radius_mm": "Radius of the sphere of the source's volume, mm.",
    "source_mm3": "Volume of the source, mm3.",
    "apparent_mm3": "Volume of the apparent label, mm3; 0 if it is not visible, n/a for a mimic.",
    "apparent_diameter_mm": "Diameter of the sphere of the apparent volume, mm; n/a for a mimic.",
}
PARTICIPANT_COLUMNS = {
    "participant_id": "Subject.",
    "protocol": "Acquisition that was simulated.",
    "field_t": "Main field, tesla.",
    "microbleeds": "Microbleeds put in.",
    "visible_microbleeds": "Microbleeds with an apparent volume above 0.",
    "mimics": "Mimics put in.",
    "seed": "Seed of the study.",
}
VISITS_COLUMNS = {
    "microbleeds": "Microbleeds put in at either visit; each counts once.",
    "visible_microbleeds": "Of these, with an apparent volume above 0 at either visit.",
    "mimics": "Mimics put in, the same at both visits.",
    "seed": "Seed of both visits.",
    "visits": "Visits, each a session.",
}
"""What participants.json says where subjects have two visits."""
LABELS = {
    "cmb": "Microbleeds as a reader outlines them on the image, each its index in the table.",
    "source": "Where the blood of each microbleed is, each its index in the table.",
}


def save_image(path: Path, volume: Volume, dtype: type[np.generic]) -> None:
    """Write a NIfTI image; float values in an integer type are scaled.

    Sixteen bits hold an image to 1/65535 of its range, at half of float32's size.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(volume.array, volume.affine)
    image.header.set_data_dtype(dtype)
    image.header.set_xyzt_units("mm")
    set_affine(image, volume.affine)
    image.to_filename(path)


def _acquisition(study: SimulatedStudy, plan: SubjectPlan, session: str | None) -> dict[str, Any]:
    protocol = study.protocol
    visit = {} if session is None else {"Visits": plan.visits, "Session": session}
    return {
        "MagneticFieldStrength": protocol.field_t,
        "EchoTime": round(protocol.te_ms[-1] / 1000, 6),
        "RepetitionTime": round(protocol.tr_ms / 1000, 6),
        "FlipAngle": protocol.flip_deg,
        "Manufacturer": "none (simulated)",
        RECORD: {
            "Seed": plan.seed,
            "Settings": asdict(plan.settings),
            "Protocol": asdict(protocol),
            "Package": f"mmocnet {__version__}",
            "SimulatorVersion": SIMULATOR_VERSION,
        }
        | visit,
    }


def write_raw(anat: Path, stem: str, study: SimulatedStudy, sidecar: dict[str, Any]) -> None:
    """Write the images of a study.

    Args:
        anat: Folder of the visit.
        stem: Entities before the acquisition, as "sub-0001".
        study: The study; images that it has not are left out.
        sidecar: What the JSON beside each image says.
    """
    kind: type[np.generic] = np.uint8 if study.protocol.eight_bit else np.int16
    images: dict[str, tuple[Volume | None, type[np.generic], dict[str, str]]] = {
        "acq-swi": (study.swi, kind, {}),
        "acq-swiTwin": (study.twin_swi, kind, {}),
        "acq-gre_part-mag": (study.magnitude, np.int16, {"Units": "arbitrary"}),
        "acq-gre_part-phase": (study.phase_rad, np.int16, {"Units": "rad"}),
    }
    for name, (volume, dtype, extra) in images.items():
        if volume is None:
            continue
        path = anat / f"{stem}_{name}_T2starw.nii.gz"
        save_image(path, volume, dtype)
        write_json(path.with_name(f"{path.name[:-7]}.json"), sidecar | extra)


def _table(study: SimulatedStudy) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    counts: dict[str, int] = {}
    for lesion in study.lesions:
        counts[lesion.kind] = number = counts.get(lesion.kind, 0) + 1
        name = f"CMB {lesion.index}" if lesion.index else f"{lesion.kind} {number}"
        row: dict[str, object] = {"index": lesion.index, "name": name}
        row |= dict(zip(("x_mm", "y_mm", "z_mm"), map(float, lesion.centre_mm), strict=True))
        row |= dict(
            zip(("mni_x_mm", "mni_y_mm", "mni_z_mm"), map(float, lesion.mni_mm), strict=True)
        )
        values = asdict(lesion)
        row |= {key: values[key] for key in TABLE_COLUMNS if key in values}
        rows.append(row)
    return rows


def describe_columns(columns: dict[str, str]) -> dict[str, Any]:
    """Return what the JSON beside a table says of its columns."""
    integer = {"index": {"Format": "integer"}}  # BIDS fixes the type of this column
    return {name: {"Description": text} | integer.get(name, {}) for name, text in columns.items()}


def write_reference(
    anat: Path, subject: str, study: SimulatedStudy, sources: bool = True, mask: str = MASK
) -> None:
    """Write the reference of a study's SWI.

    Args:
        anat: Folder of the visit in the derivative.
        subject: Entities before the acquisition, as "sub-0001" or "sub-01_ses-02".
        study: The study.
        sources: Whether to write where blood is, too.
        mask: What the brain mask's sidecar says of it.
    """
    stem = f"{subject}_acq-swi"
    visit = "/".join(part for part in subject.split("_") if part[:4] in {"sub-", "ses-"})
    about = {
        "Sources": [f"bids:raw:{visit}/anat/{stem}_T2starw.nii.gz"],
        "SpatialReference": "orig",
    }
    labels = {"cmb": study.apparent, "source": study.source}
    for name in ("cmb", "source") if sources else ("cmb",):
        path = anat / f"{stem}_desc-{name}_dseg"
        write_nifti(path.with_name(f"{path.name}.nii.gz"), labels[name], np.int16)
        write_tsv(path.with_name(f"{path.name}.tsv"), list(TABLE_COLUMNS), _table(study))
        text = {"Description": LABELS[name]}
        write_json(
            path.with_name(f"{path.name}.json"), text | about | describe_columns(TABLE_COLUMNS)
        )
    brain = anat / f"{stem}_desc-brain_mask"
    write_nifti(brain.with_name(f"{brain.name}.nii.gz"), study.brain, np.uint8)
    text = {"Description": mask, "Type": "Brain"}
    write_json(brain.with_name(f"{brain.name}.json"), text | about)


def write_subject_files(
    folder: Path, made: SimulatedStudy | SimulatedVisits, plan: SubjectPlan
) -> None:
    """Write one subject below `folder`/raw/sub-X and `folder`/reference/sub-X.

    Args:
        folder: Where both parts go; the caller moves them to their places.
        made: The study, or both visits, which become sessions.
        plan: Who it is and what was asked for; recorded in every raw sidecar.
    """
    subject = f"sub-{plan.label}"
    every = plan.settings.images == "all"
    studies: dict[str | None, SimulatedStudy] = (
        {None: made}
        if isinstance(made, SimulatedStudy)
        else dict(zip(SESSIONS, (made.baseline, made.follow_up), strict=True))
    )
    for session, study in studies.items():
        parts = [subject] if session is None else [subject, f"ses-{session}"]
        anat, stem = Path(*parts) / "anat", "_".join(parts)
        write_raw(folder / RAW / anat, stem, study, _acquisition(study, plan, session))
        write_reference(folder / REFERENCE / anat, stem, study, every)
    if isinstance(made, SimulatedVisits):
        write_changes(folder / REFERENCE / subject, made)


def _participant(out: Path, label: str) -> dict[str, object]:
    record = record_of(out / f"sub-{label}", RECORD)
    reference = out / "derivatives" / "reference" / f"sub-{label}"
    table = sorted(reference.rglob("*_acq-swi_desc-cmb_dseg.tsv"))[0]
    rows = read_tsv(table)
    microbleeds = [row for row in rows if int(row["index"]) > 0]
    counts = len(microbleeds), sum(float(row["apparent_mm3"]) > 0 for row in microbleeds)
    if changes_path(reference).is_file():
        counts = read_counts(reference)
    return {
        "participant_id": f"sub-{label}",
        "protocol": record["Protocol"]["name"],
        "field_t": record["Protocol"]["field_t"],
        "microbleeds": counts[0],
        "visible_microbleeds": counts[1],
        "mimics": len(rows) - len(microbleeds),
        "seed": record["Seed"],
        "visits": record.get("Visits", 1),
    }


def _description(name: str, kind: str) -> dict[str, Any]:
    made = {
        "Name": "mmocnet",
        "Version": __version__,
        "Description": f"{MAKER}, simulator version {SIMULATOR_VERSION}",
    }
    return {
        "Name": name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": kind,
        "License": "CC0",
        "Authors": ["The mmocnet developers", "The mmocnet simulator"],
        "GeneratedBy": [made],
    }


README = f"""# Simulated susceptibility-weighted MRI

Studies simulated from first principles by mmocnet {__version__} (simulator version
{SIMULATOR_VERSION}): no image shows a person. {NOTICE}

- `acq-swi_T2starw`: what a reader sees, SWI, or the magnitude for a protocol without phase
  weighting (`Simulation.Protocol.image` in the sidecar says which).
- `acq-swiTwin_T2starw`: the same scan, noise included, without the microbleeds.
- `acq-gre_part-mag_T2starw`, `acq-gre_part-phase_T2starw`: magnitude and phase (rad) of the last
  echo.
- `derivatives/reference`: instances as a reader outlines them (`desc-cmb_dseg`), where the blood
  is (`desc-source_dseg`), the brain mask, and a table of microbleeds and mimics.

Any subject can be made again alone from the seed and settings in its sidecar.
"""
VISITS_README = """
Subjects have two visits, `ses-01` and `ses-02`: the same head, vessels and mimics, other noise and
coils. At the second the head is turned and moved, the slices are cut a fraction of a voxel beside
those of the first, and some microbleeds are new, grown or no longer there:
`derivatives/reference/sub-*/sub-*_changes.tsv` says which, with their numbers at both visits.
"""


def write_root(out: Path) -> None:
    """Write the dataset's own files, from the subjects that are there."""
    labels = sorted(path.name[4:] for path in out.glob("sub-*") if path.is_dir())
    have_visits = any(out.glob(f"sub-*/ses-{SESSIONS[0]}"))
    columns = PARTICIPANT_COLUMNS | (VISITS_COLUMNS if have_visits else {})
    write_json(
        out / "dataset_description.json", _description("Simulated SWI with microbleeds", "raw")
    )
    write_text(out / "README.md", README + (VISITS_README if have_visits else ""))
    write_text(out / ".bidsignore", ".unfinished/\n")
    rows = [_participant(out, label) for label in labels]
    write_tsv(out / "participants.tsv", list(columns), rows)
    write_json(out / "participants.json", describe_columns(columns))
    reference = out / "derivatives" / "reference"
    links = {"DatasetLinks": {"raw": "../.."}, "SourceDatasets": [{"URL": "../.."}]}
    write_json(
        reference / "dataset_description.json",
        _description("Exact references of simulated SWI", "derivative") | links,
    )
    write_text(reference / "README.md", f"# Exact references\n\nSee `../../README.md`. {NOTICE}\n")
    if have_visits:
        write_text(reference / ".bidsignore", "*_changes.*\n")  # BIDS knows no such table

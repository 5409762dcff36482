"""The files at the root of a BIDS derivative: what it is, and from what it was made."""

import os
from pathlib import Path

from mmocnet import __version__
from mmocnet.io.dataset import BIDS_VERSION, write_json, write_text
from mmocnet.io.report import NOTICE

IGNORED = "*_report.html\n*_report.pdf\n*.dcm\n"


def write_root(root: Path, raw: Path) -> None:
    """Write the files of a BIDS derivative, where they are not there yet.

    Args:
        root: Of the derivative.
        raw: Of the dataset that it was made from.
    """
    made = {
        "Name": "mmocnet",
        "Version": __version__,
        "Description": f"mmocnet segment. {NOTICE}",
    }
    # Relative, so that both may move together and no home folder is told.
    link = Path(os.path.relpath(raw, root.absolute())).as_posix()
    description = {
        "Name": "Cerebral microbleeds",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "License": "n/a: as the raw data",
        "Authors": ["The mmocnet developers", "The mmocnet software"],
        "GeneratedBy": [made],
        "DatasetLinks": {"raw": link},
        "SourceDatasets": [{"URL": link}],
    }
    readme = (
        f"# Cerebral microbleeds\n\nMade by mmocnet {__version__} from susceptibility-weighted "
        f"MRI. {NOTICE}\n\n- `*_desc-cmb_dseg`: lesions, their table and summary.\n"
        "- `*_desc-candidates_dseg`: all candidates with their confidence.\n"
        "- `*_label-CMB_probseg`: probability.\n"
        "- `*_report.html`, `*_report.pdf`: report for people.\n"
    )
    if not (root / "dataset_description.json").exists():
        write_json(root / "dataset_description.json", description)
    for name, text in (("README.md", readme), (".bidsignore", IGNORED)):
        if not (root / name).exists():
            write_text(root / name, text)

"""The files at the root of a BIDS derivative: what it is, and from what it was made."""

import json
import os
from pathlib import Path
from typing import Any

from mmocnet import __version__
from mmocnet.io.dataset import BIDS_VERSION, write_json, write_text
from mmocnet.io.report import NOTICE

IGNORED = "*_report.html\n*_report.pdf\n*.dcm\n/cohort_*\n/logs/\n"


def raw_name(root: Path, raw: Path) -> str:
    """Return the name that a raw dataset has in a derivative: "raw", or "raw2" of a second one.

    Args:
        root: Of the derivative.
        raw: Of the dataset.
    """
    links = _description(root).get("DatasetLinks", {})
    for name, link in links.items():
        if (root / str(link)).resolve() == raw.resolve():
            return str(name)
    free = ("raw", *(f"raw{number}" for number in range(2, len(links) + 2)))
    return next(name for name in free if name not in links)


def write_root(root: Path, raw: Path) -> None:
    """Write the files of a BIDS derivative, where they are not there, and name the raw dataset.

    Args:
        root: Of the derivative.
        raw: Of the dataset that it was made from.
    """
    made = {
        "Name": "mmocnet",
        "Version": __version__,
        "Description": f"mmocnet segment. {NOTICE}",
    }
    readme = (
        f"# Cerebral microbleeds\n\nMade by mmocnet {__version__} from susceptibility-weighted "
        f"MRI. {NOTICE}\n\n- `*_desc-cmb_dseg`: lesions, their table and summary.\n"
        "- `*_desc-candidates_dseg`: all candidates with their confidence.\n"
        "- `*_label-CMB_probseg`: probability.\n"
        "- `*_report.html`, `*_report.pdf`: report for people.\n"
    )
    new: dict[str, Any] = {
        "Name": "Cerebral microbleeds",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "License": "n/a: as the raw data",
        "Authors": ["The mmocnet developers", "The mmocnet software"],
        "GeneratedBy": [made],
    }
    path, name = root / "dataset_description.json", raw_name(root, raw)
    description = _description(root) if path.exists() else new
    ours = any(one.get("Name") == "mmocnet" for one in description.get("GeneratedBy", ()))
    links = description.setdefault("DatasetLinks", {})
    if ours and name not in links:
        # Relative, so that both may move together and no home folder is told.
        links[name] = Path(os.path.relpath(raw, root.absolute())).as_posix()
        description["SourceDatasets"] = [{"URL": link} for link in links.values()]
        write_json(path, description)
    for file, text in (("README.md", readme), (".bidsignore", IGNORED)):
        if not (root / file).exists():
            write_text(root / file, text)


def _description(root: Path) -> dict[str, Any]:
    """Return what a folder's dataset_description.json says; nothing where it cannot be read."""
    try:
        said = json.loads((root / "dataset_description.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}

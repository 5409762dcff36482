"""Simulate a study, segment it with the shipped model, and show what was found.

Usage: python scripts/demo.py OUT
"""

import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmocnet.cli import NOTICE, main
from mmocnet.errors import MmocnetError
from mmocnet.evaluate.matching import Pairing, match, pairing
from mmocnet.io.dataset import DatasetScan, read_dataset, read_tsv, stem
from mmocnet.io.nifti import read_nifti
from mmocnet.simulate.dataset import write_subjects
from mmocnet.simulate.settings import StudySettings
from mmocnet.simulate.testset import plan_subjects

# A dataset of its own: training and the test sets draw other seeds.
SEED = 20221117
STUDY = StudySettings(protocol="clinical", lesion_free_share=0.0, lesion_count=(5, 8))

Row = dict[str, str]


def simulate_one(out: Path) -> DatasetScan:
    """Return the demo's study, made if it is not there yet."""
    for result in write_subjects(out, plan_subjects(1, SEED, STUDY)):
        if result.state == "failed":
            raise MmocnetError(f"the study could not be simulated: {result.reason}")
    return read_dataset(out)[0]


def _of(rows: list[Row], index: int) -> Row:
    return next(row for row in rows if int(row["index"]) == index)


def _place(row: Row) -> str:
    return ", ".join(f"{float(row[f'{axis}_mm']):.0f}" for axis in "xyz")


def lesion_table(found: list[Row], reference: list[Row], pair: Pairing) -> Table:
    """Return what was found with the reference beside it, then what was missed."""
    table = Table(title="Microbleeds found, and the reference (x, y, z in mm)")
    for column in ("found", "x, y, z", "equiv. mm", "conf.", "reference", "equiv. mm", "Dice"):
        table.add_column(column, no_wrap=True)
    matching, dice = match(pair), pair.dice()
    partner = {int(j): int(i) for i, j in matching.pairs}
    for j, index in enumerate(pair.predicted.ids):
        row = _of(found, int(index))
        cells = [row["name"], _place(row), f"{float(row['diameter_eq_mm']):.1f}"]
        cells.append(f"{float(row['confidence']):.2f}")
        if j in partner:
            i = partner[j]
            true = _of(reference, int(pair.reference.ids[i]))
            cells += [true["name"], f"{float(true['apparent_diameter_mm']):.1f}"]
            cells.append(f"{dice[i, j]:.2f}")
        else:
            cells += ["[red]false[/red]", "", ""]
        table.add_row(*cells)
    for i in matching.missed:
        true = _of(reference, int(pair.reference.ids[i]))
        size = f"{float(true['apparent_diameter_mm']):.1f}"
        table.add_row("[red]missed[/red]", _place(true), "", "", true["name"], size, "")
    return table


def show(scan: DatasetScan, out: Path, console: Console) -> None:
    """Print the lesion table with the reference beside it, and where the report is."""
    if scan.labels is None or scan.table is None:
        raise MmocnetError(f"expected a reference beside {scan.image.name}, got none")
    name = stem(scan.image.name)
    labels = next(out.rglob(f"{name}_desc-cmb_dseg.nii.gz"))
    predicted, reference = read_nifti(labels), read_nifti(scan.labels)
    pair = pairing(reference.array, predicted.array, reference.spacing_mm)
    found = read_tsv(labels.with_name(f"{name}_desc-cmb_dseg.tsv"))
    true = read_tsv(scan.table)
    matching = match(pair)
    console.print(lesion_table(found, true, pair))
    hidden = sum(int(row["index"]) > 0 and float(row["apparent_mm3"]) == 0 for row in true)
    mimics = sum(int(row["index"]) == 0 for row in true)
    console.print(
        f"{len(matching.pairs)} of {len(pair.reference.ids)} visible microbleeds found, "
        f"{len(matching.missed)} missed, {len(matching.false)} false. The study also holds "
        f"{mimics} mimics and {hidden} microbleeds that leave no visible mark."
    )
    report = next(out.rglob(f"{name}_report.html"))
    console.print(f"\nReport, to be opened in a browser:\n  {report.resolve()}", soft_wrap=True)


def demo(out: Path) -> int:
    """Run the demo below `out`; return the exit code."""
    console, start = Console(), time.perf_counter()
    console.print(f"[bold]{NOTICE}[/bold]\n\n1. Simulating a 3 T SWI study with microbleeds ...")
    try:
        scan = simulate_one(out / "dataset")
        console.print(f"   {scan.image}\n2. Segmenting it: mmocnet segment ...", soft_wrap=True)
        code = main(["segment", str(scan.image), "-o", str(out / "segmentation"), "--overwrite"])
        if code:
            return code
        console.print("3. Comparing with the reference\n")
        show(scan, out / "segmentation", console)
    except MmocnetError as error:
        console.print(f"demo: {error}", style="red", markup=False)
        return 2
    console.print(f"Done in {time.perf_counter() - start:.0f} s. {NOTICE}")
    return 0


if __name__ == "__main__":
    sys.exit(demo(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output")))

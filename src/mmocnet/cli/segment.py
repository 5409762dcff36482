"""`mmocnet segment`: find and outline microbleeds in SWI scans."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mmocnet.cli.failures import Failures
from mmocnet.config import EngineName, OperatingPoint, PhaseSign, SegmentSettings
from mmocnet.errors import InputError
from mmocnet.io.atomic import check_folder

if TYPE_CHECKING:
    from mmocnet.nets.checkpoint import Cascade
    from mmocnet.predict.engine import Progress
    from mmocnet.predict.pipeline import SegmentedFile
    from mmocnet.predict.segmentation import Segmentation

ROWS = 20
"""Lesions printed; the table in the folder has all of them."""


@dataclass(frozen=True)
class Segment:
    """Find and outline microbleeds in SWI scans.

    Writes masks and probability on each scan's own grid, a table of lesions, their provenance
    and a report with pictures. Run it again to resume: what is done is not done again.
    Research use only - not a medical device.
    """

    inputs: Annotated[
        tyro.conf.Positional[tuple[Path, ...]],
        tyro.conf.arg(metavar="SCAN [SCAN ...]", help_behavior_hint="(required)"),
    ]
    """NIfTI volumes, or single slices as NIfTI, PNG or TIFF; DICOM as a folder, a zip or a file."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the results; made if missing."""
    model: str | None = None
    """compact, standard, paper, or a folder that training wrote; none takes the best there is."""
    operating_point: OperatingPoint = "balanced"
    """screening: sensitivity first. balanced: best lesion F1 with few false calls. report:
    precision first."""
    threshold: float | None = None
    """Confidence from which a candidate is a lesion, above 0 and at most 1, in place of the
    operating point's."""
    spacing_mm: float | None = None
    """Pixel size of PNG and TIFF slices, which have none of their own."""
    series: str | None = None
    """Number or UID of the DICOM series to segment; none takes the one that is named as SWI."""
    mask: Path | None = None
    """Brain mask on the scan's grid, in place of the one that is made; for one scan."""
    phase: Path | None = None
    """Phase image on the scan's grid, for a model that reads phase; for one scan. Without it, the
    phase series beside a DICOM scan is taken."""
    phase_sign: PhaseSign = "auto"
    """+1: blood has positive phase where its vessel runs along the field. -1: negative. auto
    finds it in the scan; where it cannot, it takes the DICOM vendor's usual sign, or leaves phase
    out."""
    location: bool = True
    """Whether each lesion gets a region and a side; needs: pip install 'mmocnet[location]'."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the networks run."""
    engine: EngineName = "torch"
    """What runs them. openvino: the same results, faster on a CPU. openvino-int8: stage 1 in 8
    bits, fastest; a single scan may have other microbleeds. Both need: pip install
    'mmocnet[openvino]'."""
    threads: int | None = None
    """Threads of the networks; none takes one for each core."""
    overwrite: bool = False
    """Make results again that are there already."""

    def run(self) -> None:
        """Segment each input; go on after one that fails, and say so at the end."""
        self._check()
        from mmocnet.nets.card import default_model
        from mmocnet.nets.checkpoint import load_cascade

        if self.threads is not None:
            import torch

            torch.set_num_threads(self.threads)
        cascade = load_cascade(self.model or default_model(), self.device)
        if self.phase is not None and not cascade.settings.reads_phase:
            _warn(f"--phase {self.phase.name} is ignored: the model {cascade.name} reads no phase")
        failures = Failures("segment", len(self.inputs))
        for given in self.inputs:
            # "." and ".." have no name of their own.
            path = given if given.name.strip(".") else given.resolve()
            with failures.told(path):
                _say(path, self._segment(path, cascade))
                if self.phase is None and cascade.settings.reads_phase:
                    _hint_phase(path)
        failures.check()

    def _check(self) -> None:
        from mmocnet.predict.outputs import output_files

        if not self.inputs:
            raise InputError("expected at least one INPUT, got none")
        check_folder(self.out)
        if self.mask is not None and len(self.inputs) > 1:
            raise InputError(f"--mask is for one INPUT, got {len(self.inputs)}")
        if self.phase is not None and len(self.inputs) > 1:
            raise InputError(f"--phase is for one INPUT, got {len(self.inputs)}")
        if self.threads is not None and self.threads < 1:
            raise InputError(f"threads must be 1 or more, got {self.threads}")
        owners: dict[Path, Path] = {}
        for path in self.inputs:
            files = output_files(path, self.out)
            other = owners.setdefault(files.summary, path)
            if other.absolute() != path.absolute():
                raise InputError(
                    f"{other.name} and {path.name} would write the same files, named "
                    f"{files.stem}: give them folders of their own with -o"
                )

    def _segment(self, path: Path, cascade: "Cascade") -> "SegmentedFile":
        from mmocnet.predict.pipeline import segment_file
        from mmocnet.predict.provenance import FileOptions

        settings = SegmentSettings(
            model=self.model,
            operating_point=self.operating_point,
            threshold=self.threshold,
            device=self.device,
            engine=self.engine,
            phase_sign=self.phase_sign,
            location=self.location,
        )
        phase = self.phase if cascade.settings.reads_phase else None
        with _bar(path.name) as progress:
            return segment_file(
                path,
                self.out,
                settings,
                options=FileOptions(self.spacing_mm, self.mask, self.overwrite, phase, self.series),
                cascade=cascade,
                progress=progress,
            )


def description() -> str:
    """Return the text of `--help`: the command's, and what the operating points mean."""
    import inspect

    from mmocnet.cli.operating_points import operating_point_text

    return f"{inspect.getdoc(Segment)}\n\n{operating_point_text()}".strip()


@contextmanager
def _bar(name: str) -> "Iterator[Progress]":
    """Give a progress bar over slices on a terminal, and nothing elsewhere."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def _hint_phase(path: Path) -> None:
    """Say that a BIDS scan's phase was not used."""
    from mmocnet.io.dataset import phase_beside

    phase = phase_beside(path)
    if phase is not None:
        print(f"{path.name}: a phase image lies beside it: --phase {phase.name}", file=sys.stderr)


def _say(path: Path, done: "SegmentedFile") -> None:
    """Print what was found and where the report is."""
    if done.result is None:
        print(f"{path.name}: done before\n  report: {done.files.report}")
        return
    from mmocnet.io.report import count_sentence

    for warning in done.result.warnings:
        _warn(f"{path.name}: {warning}")
    print(f"{path.name}: {count_sentence(done.result.lesions)}")
    _print_table(done.result)
    print(f"  report: {done.files.report}\n  Research use only - not a medical device.")


def _print_table(result: "Segmentation") -> None:
    if not result.lesions:
        return
    print(
        f"  {'#':>3} {'certainty':<16} {'conf.':>5} {'largest mm':>10} {'mm3':>7}  "
        "centre x, y, z (mm)"
    )
    for one in result.lesions[:ROWS]:
        centre = ", ".join(f"{value:.1f}" for value in one.centre_mm)
        print(
            f"  {one.index:>3} {one.certainty:<16} {one.confidence:>5.2f} {one.diameter_mm:>10.1f} "
            f"{one.volume_mm3:>7.1f}  {centre}"
        )
    if len(result.lesions) > ROWS:
        print(f"  ... and {len(result.lesions) - ROWS} more in the table")

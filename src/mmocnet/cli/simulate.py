"""`mmocnet simulate`: make a BIDS dataset of simulated studies with references."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mmocnet.cli.device import chosen_device
from mmocnet.errors import InputError, MmocnetError
from mmocnet.io.atomic import check_folder
from mmocnet.simulate.settings import ProtocolName, StudySettings

if TYPE_CHECKING:
    from mmocnet.simulate.dataset import SubjectResult
    from mmocnet.simulate.testset import SubjectPlan


@dataclass(frozen=True)
class Simulate:
    """Make a BIDS dataset of simulated studies with exact references.

    Run it again to resume: subjects that are there are not made again.
    Research use only - not a medical device.
    """

    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the dataset; made if missing."""
    subjects: int = 10
    """Number of subjects."""
    seed: int = 0
    """Seed of the dataset; the same seed gives the same subjects."""
    protocol: ProtocolName = "random"
    """Acquisition; random draws one, with its numbers, for each subject."""
    lesion_free_share: float = 0.3
    """Share of subjects without a microbleed."""
    lesion_count: tuple[int, int] | None = None
    """Uniform range of microbleeds a subject, for training; none takes the natural counts."""
    mimics: bool = True
    """Whether calcifications, cavernomas, iron and the like are put in."""
    slab_mm: float | None = None
    """Height of the simulated slab in mm, at a random level; none simulates the whole head."""
    images: Literal["all", "phase", "swi"] = "all"
    """all: SWI, lesion-free twin, magnitude, phase, both references. phase: SWI and phase, what
    training reads. swi: without the phase too."""
    visits: Literal[1, 2] = 1
    """Visits of each subject. 2: ses-01 and ses-02; between them some microbleeds are new, grown or
    gone, and the head has moved."""
    workers: int = 1
    """Processes, each with one thread."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Torch device that simulates: cpu or cuda."""
    test_set: Literal["v3"] | None = None
    """Write this fixed test set; subjects, seed, protocol and the like then come from it."""

    implant: Path | None = None
    """Folder of real lesion-free scans, magnitude with phase or susceptibility, to implant lesions
    into; every scan becomes one, and what describes a simulated acquisition does not apply."""
    te_ms: float | None = None
    """Echo time of the scans to implant into; none reads the JSON beside them."""
    field_t: float | None = None
    """Their main field in tesla; none reads the JSON beside them."""
    phase_sign: Literal[1, -1] | None = None
    """Sign of their phase images: 1 where veins along the field are positive; none finds it out."""

    def run(self) -> None:
        """Write the dataset with a progress bar; say which subjects failed."""
        self._check()
        check_folder(self.out)
        if self.implant is not None:
            self._implant(self.implant)
            return
        from rich.console import Console
        from rich.progress import track

        from mmocnet.simulate.dataset import WriteSettings, write_subjects

        console = Console(stderr=True)
        plans = self._plans()
        how = WriteSettings(workers=self.workers, device=chosen_device(self.device))
        results = write_subjects(self.out, plans, how)
        bar = track(results, "Simulating", total=len(plans), console=console)
        _report(list(bar), self.out)

    def _check(self) -> None:
        """Refuse options that would be ignored."""
        if self.visits == 2 and (self.implant is not None or self.test_set is not None):
            raise InputError("expected --visits 2 without --implant and --test-set")
        of_scans = (self.te_ms, self.field_t, self.phase_sign)
        if self.implant is None:
            if of_scans != (None, None, None):
                raise InputError("expected --te-ms, --field-t and --phase-sign with --implant only")
            return
        if self.test_set is not None or self.slab_mm is not None or self.protocol != "random":
            raise InputError("expected --implant without --test-set, --slab-mm and --protocol")
        of_simulation = (self.subjects, self.workers, self.device)
        if of_simulation != (Simulate.subjects, Simulate.workers, Simulate.device):
            raise InputError("expected --implant without --subjects, --workers and --device")

    def _implant(self, folder: Path) -> None:
        """Write a dataset of real scans with implants."""
        from rich.console import Console
        from rich.progress import track

        from mmocnet.simulate.implant_dataset import by_subject, implant_subjects
        from mmocnet.simulate.implant_find import find_scans
        from mmocnet.simulate.implant_read import Overrides
        from mmocnet.simulate.implant_study import ImplantSettings
        from mmocnet.simulate.own_folder import check_apart

        settings = ImplantSettings(
            seed=self.seed,
            lesion_free_share=self.lesion_free_share,
            lesion_count=self.lesion_count,
            mimics=self.mimics,
            images=self.images,
            overrides=Overrides(self.te_ms, self.field_t, self.phase_sign),
        )
        check_apart(self.out, folder)
        scans = find_scans(folder)
        loose = sum(scan.subject is None and scan.top is None for scan in scans)
        if loose > 1:
            print(
                f"warning: {loose} scans lie in {folder.name} itself, each is taken for a subject: "
                "give each person a folder, or names that begin with sub-",
                file=sys.stderr,
            )
        results = implant_subjects(self.out, scans, settings)
        total, console = len(by_subject(scans)), Console(stderr=True)
        _report(list(track(results, "Implanting", total=total, console=console)), self.out)

    def _plans(self) -> "Sequence[SubjectPlan]":
        from mmocnet.simulate.testset import load_test_set, plan_subjects

        if self.test_set is not None:
            return load_test_set(self.test_set)
        study = StudySettings(
            protocol=self.protocol,
            lesion_free_share=self.lesion_free_share,
            lesion_count=self.lesion_count,
            mimics=self.mimics,
            images=self.images,
            slab_mm=self.slab_mm,
        )
        return plan_subjects(self.subjects, self.seed, study, self.visits)


def _report(results: "Sequence[SubjectResult]", out: Path) -> None:
    counts = dict.fromkeys(("written", "present", "failed"), 0)
    for result in results:
        counts[result.state] += 1
    print(
        f"{counts['written']} subjects written, {counts['present']} there already, "
        f"{counts['failed']} failed: {out}"
    )
    failed = [result for result in results if result.state == "failed"]
    if failed:
        lines = "".join(f"\n  sub-{one.label}: {one.reason}" for one in failed)
        again = "" if all(one.refused for one in failed) else ", run again"
        raise MmocnetError(f"{len(failed)} of {len(results)} subjects failed{again}{lines}")

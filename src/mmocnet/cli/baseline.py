"""`mmocnet baseline`: train a plain U-Net to compare with, and segment with it."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mmocnet.cli.device import chosen_device
from mmocnet.cli.failures import Failures
from mmocnet.errors import InputError

if TYPE_CHECKING:
    from mmocnet.train.baseline import Progress
    from mmocnet.train.baseline_net import BaselineSettings
    from mmocnet.train.patches import TrainingScan


@dataclass(frozen=True)
class Baseline:
    """Train MONAI's U-Net on the scans, split and budget of a cascade, to compare with.

    `mmocnet baseline DATASET -o RUN` trains; run it again to go on where it ended.
    `mmocnet baseline --model RUN/model --segment SCANS -o OUT` (or --planes FOLDER) writes what
    `mmocnet segment` writes, for `mmocnet evaluate`. Research use only - not a medical device.
    """

    dataset: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="[DATASET]")] = None
    """Folder of the dataset to train on."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Folder of the run, or of what was found."""
    network: Literal["unet2d", "unet3d"] = "unet2d"
    """unet2d: slices by themselves. unet3d: blocks of slices."""
    budget_minutes: float | None = None
    """Time to train; the learning rate falls to fit; without, 40 epochs of 100 steps."""
    width: int = 16
    """Channels of the first level."""
    batch_size: int | None = None
    """Patches a step; none takes 6 for unet2d, 2 for unet3d."""
    patch: tuple[int, int, int] | None = None
    """Slices, rows, columns of a training patch; none takes 1 x 176 x 224, or 12 x 96 x 96."""
    thresholds_on: Path | None = None
    """Dataset with references, of other subjects and with natural lesion counts, on which the
    operating points are chosen; none takes validation scans of DATASET."""
    cache: Path | None = None
    """Folder of prepared scans, that of `mmocnet train` as well; none takes OUT/cache."""
    workers: int = 1
    """Processes that prepare scans."""
    model: Path | None = None
    """Folder of a trained baseline, to segment with."""
    segment: tuple[Path, ...] = ()
    """NIfTI volumes, or single slices as NIfTI, PNG or TIFF."""
    planes: Path | None = None
    """Folder of single planes as `mmocnet evaluate --planes` takes it: segment its pictures."""
    plane: Literal["ax", "cor", "sag"] = "ax"
    """Which planes of that folder."""
    threshold: float | None = None
    """Confidence from which a candidate is a lesion; none takes the best for lesion F1."""
    spacing_mm: float | None = None
    """Pixel size of PNG and TIFF slices."""
    overwrite: bool = False
    """Segment again what is there already."""
    threads: int | None = None
    """CPU threads; none leaves the choice to torch."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: an NVIDIA GPU where there is one."""
    seed: int = 0
    """Seed of split, weights, patches, augmentation: the same as of the cascade."""

    def run(self) -> None:
        """Train, or segment, as the options say."""
        if (self.dataset is None) == (self.model is None):
            raise InputError("expected either a DATASET to train on or --model to segment with")
        if self.out is None:
            raise InputError("expected a folder for the results: give -o OUT")
        device = chosen_device(self.device, self.threads)
        if self.dataset is not None:
            self._train(self.dataset, self.out, device)
        elif self.model is not None:
            self._segment(self.model, self.out, device)

    def settings(self) -> "BaselineSettings":
        """Return how the network is trained, with this command's changes."""
        from mmocnet.train.baseline_net import baseline_settings

        for name, value, least in (
            ("seed", self.seed, 0),
            ("width", self.width, 1),
            ("batch-size", self.batch_size, 1),
            ("workers", self.workers, 1),
        ):
            if value is not None and value < least:
                raise InputError(f"expected --{name} of at least {least}, got {value}")
        if self.budget_minutes is not None and not 0 < self.budget_minutes < math.inf:
            raise InputError(f"expected --budget-minutes above 0, got {self.budget_minutes:g}")
        preset = baseline_settings(self.network)
        stage = preset.stage
        # With a budget the epochs must not end the training first.
        epochs = stage.max_epochs if self.budget_minutes is None else 100_000
        stage = replace(
            stage,
            budget_minutes=self.budget_minutes,
            max_epochs=epochs,
            batch_size=stage.batch_size if self.batch_size is None else self.batch_size,
        )
        patch = preset.patch if self.patch is None else self.patch
        return replace(preset, stage=stage, width=self.width, patch=patch, seed=self.seed)

    def _train(self, dataset: Path, out: Path, device: str) -> None:
        from mmocnet.train.baseline import train_baseline
        from mmocnet.train.datasets import check_datasets

        settings = self.settings()
        given = {} if self.thresholds_on is None else {"--thresholds-on": self.thresholds_on}
        check_datasets(dataset, given)
        scans = self._scans(dataset, out, settings)
        natural: tuple[TrainingScan, ...] = ()
        if self.thresholds_on is not None:
            natural = self._scans(self.thresholds_on, out, settings)
        with _bar("Choosing operating points") as progress:
            model = train_baseline(scans, out, settings, device, natural, progress)
        print(f"baseline: {model}  (research use only - not a medical device)")

    def _scans(
        self, dataset: Path, out: Path, settings: "BaselineSettings"
    ) -> "tuple[TrainingScan, ...]":
        from mmocnet.train.scans import load_training_scans

        cache = out / "cache" if self.cache is None else self.cache
        with _bar(f"Preparing {dataset.name}") as progress:
            return load_training_scans(dataset, settings.preparation, cache, self.workers, progress)

    def _segment(self, model: Path, out: Path, device: str) -> None:
        from mmocnet.config import SegmentSettings, Thresholds
        from mmocnet.predict.provenance import FileOptions, operating_threshold
        from mmocnet.train.baseline_predict import load_baseline, segment_baseline_file

        # A threshold that is none is refused before any network is loaded.
        operating_threshold(SegmentSettings(threshold=self.threshold), Thresholds())
        files = self._files()
        baseline = load_baseline(model, device)
        failures = Failures("baseline", len(files))
        with _bar("Segmenting") as progress:
            for number, (path, spacing) in enumerate(files, 1):
                options = FileOptions(spacing, None, self.overwrite)
                with failures.told(path):
                    segment_baseline_file(path, out, baseline, self.threshold, options)
                progress(number, len(files))
        level = baseline.settings.thresholds.balanced if self.threshold is None else self.threshold
        print(
            f"segmented {len(files) - failures.failed} at threshold {level:g}: {out}  "
            "(research use only - not a medical device)"
        )
        failures.check()

    def _files(self) -> list[tuple[Path, float | None]]:
        """Return the images to segment, each with its pixel size if it has none of its own."""
        files = [(path, self.spacing_mm) for path in self.segment]
        if self.planes is not None:
            from mmocnet.evaluate.planes import read_planes

            folder = self.planes / "images"
            files += [
                (folder / f"{plane.stem}.png", plane.pixel_mm)
                for plane in read_planes(self.planes, self.plane)
            ]
        if not files:
            raise InputError("expected scans to segment: give --segment SCANS or --planes FOLDER")
        return files


@contextmanager
def _bar(name: str) -> "Iterator[Progress]":
    """Give a progress bar over scans."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

"""`mmocnet evaluate`: score segmentations, single planes, or the realism of images."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mmocnet.errors import InputError
from mmocnet.io.atomic import check_folder

if TYPE_CHECKING:
    from mmocnet.evaluate.instances import Prediction
    from mmocnet.evaluate.planes import PlaneScores, ReferencePlane
    from mmocnet.evaluate.realism import Realism

FP_RATES = (2.0, 1.0, 0.5, 0.25)
"""False positives a plane at which the curve is printed."""
IMAGE_ENDINGS = (".nii", ".nii.gz", ".png", ".tif", ".tiff")
PARTS = {
    "with --realism": ("realism", "spacing_mm"),
    "with --planes": (
        "planes", "predictions", "plane", "model", "device", "baseline", "threshold"
    ),
    "without --planes": (
        "predictions", "references", "ignore", "window", "compare_with", "spacing_mm",
        "allow_missing", "seed", "threshold", "min_diameter_mm",
    ),
}  # fmt: skip
"""What each kind of evaluation reads beside OUT."""


@dataclass(frozen=True)
class Evaluate:
    """Score segmentations against references.

    `mmocnet evaluate PREDICTIONS REFERENCES -o OUT` scores folders (or files) of volumes or
    slices. With --planes, single planes around marked lesions are scored: PREDICTIONS, or what
    --model finds, or --baseline. With --realism, images are measured. Research use only - not a
    medical device.
    """

    predictions: Annotated[
        tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="[PREDICTIONS]")
    ] = None
    """What `segment` wrote, or masks, numbered lesions or probability maps of any tool."""
    references: Annotated[
        tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="[REFERENCES]")
    ] = None
    """Masks or numbered lesions of the same names, as a dataset's derivatives/reference."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Folder for the tables; made if missing."""
    ignore: Path | None = None
    """Masks of what is left out of the score, named as the references."""
    window: Path | None = None
    """Masks of where the references are complete, one each; nothing outside is scored."""
    compare_with: Path | None = None
    """Predictions of a second method: its scores less those of the first, subjects paired."""
    spacing_mm: float | None = None
    """Pixel size of PNG and TIFF files in mm; --realism takes 0.5 where it is not given."""
    min_diameter_mm: float | None = None
    """Leave out reference lesions of a smaller equivalent diameter, and what is predicted of them
    alone: a microbleed measures 2 to 10 mm by definition."""
    allow_missing: bool = False
    """Score what there is and list what is missing, in place of an error."""
    seed: int = 0
    """Seed of the bootstrap over subjects."""
    planes: Path | None = None
    """Folder with images/, masks/, ignore/ and lesions.csv: score single planes."""
    plane: Literal["ax", "cor", "sag"] = "ax"
    """Which planes of that folder."""
    model: str | None = None
    """Segment the planes with this model (name or folder)."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where that model runs."""
    baseline: bool = False
    """Score the blob filter on the planes, as what a network has to beat."""
    threshold: float | None = None
    """Where probability maps are cut, in place of 0.5. With --planes one confidence threshold for
    all of them; with --model the model's balanced one if not given."""
    realism: tuple[Path, ...] = ()
    """Images, folders of images or BIDS datasets: measure how much small dark structure they
    hold."""

    def run(self) -> None:
        """Do what the options say; print a table and write the files."""
        self._check()
        if self.out is not None:
            check_folder(self.out)
        if self.realism:
            self._measure_realism()
        elif self.planes is not None:
            self._score_planes(self.planes)
        else:
            self._score_folders()

    def _check(self) -> None:
        """Refuse options that the kind of evaluation that is asked for does not read."""
        kind = "without --planes" if self.planes is None else "with --planes"
        kind = "with --realism" if self.realism else kind
        for one in fields(self):
            if one.name in ("out", *PARTS[kind]) or getattr(self, one.name) == one.default:
                continue
            positional = one.name in ("predictions", "references")
            option = one.name.upper() if positional else "--" + one.name.replace("_", "-")
            raise InputError(f"expected no {option} {kind}, got one")

    def _out(self) -> Path:
        if self.out is None:
            raise InputError("expected a folder for the tables: give -o OUT")
        return self.out

    def _score_folders(self) -> None:
        from rich.console import Console
        from rich.progress import Progress

        from mmocnet.commands.evaluate import score_folder
        from mmocnet.evaluate.score import ScoreSettings
        from mmocnet.evaluate.sections import score_markdown

        if self.predictions is None or self.references is None:
            raise InputError("expected PREDICTIONS and REFERENCES, --planes or --realism")
        settings = ScoreSettings(
            self.spacing_mm,
            self.allow_missing,
            self.seed,
            threshold=self.threshold,
            min_diameter_mm=self.min_diameter_mm,
        )
        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task("Scoring", total=None)

            def told(name: str, done: int, total: int) -> None:
                bar.update(task, description=f"Scoring {name}", completed=done, total=total)

            summary = score_folder(
                self.predictions,
                self.references,
                self._out(),
                settings,
                ignore=self.ignore,
                window=self.window,
                compare_with=self.compare_with,
                progress=told,
            )
        print(score_markdown(summary))
        for text in summary["warnings"]:
            print(f"warning: {text}", file=sys.stderr)
        unused = summary["predictions_without_reference"]
        if unused:
            print(f"{len(unused)} predictions have no reference: {', '.join(unused[:10])}")
        if summary["page"].startswith("no page"):
            print(summary["page"])

    def _score_planes(self, folder: Path) -> None:
        from mmocnet.evaluate.instances import check_threshold
        from mmocnet.evaluate.planes import read_planes, score_planes
        from mmocnet.evaluate.tables import plane_limits_markdown, plane_markdown, write_planes

        check_threshold(self.threshold)
        planes = list(read_planes(folder, self.plane))
        predictions, threshold = self._plane_predictions(folder, planes)
        curve = score_planes(planes, predictions)
        chosen = None
        if threshold is not None:
            chosen = score_planes(planes, predictions, [threshold])[0]
            print(plane_markdown([chosen]))
        print(plane_limits_markdown(at_false_positives(curve)))
        if self.out is not None:
            about = {"plane": self.plane, "planes": len(planes), "model": self.model}
            write_planes(chosen, curve, self.out, about)

    def _plane_predictions(
        self, folder: Path, planes: "list[ReferencePlane]"
    ) -> "tuple[list[Prediction], float | None]":
        given = (self.predictions is not None, self.model is not None, self.baseline)
        if sum(given) != 1:
            raise InputError("expected one of PREDICTIONS, --model and --baseline with --planes")
        if self.predictions is not None:
            from mmocnet.evaluate.plane_files import folder_predictions

            return folder_predictions(self.predictions, planes), self.threshold
        if self.baseline:
            from mmocnet.evaluate.baseline import plane_candidates

            return [plane_candidates(plane) for plane in planes], self.threshold
        return self._segment_planes(folder, planes)

    def _segment_planes(
        self, folder: Path, planes: "list[ReferencePlane]"
    ) -> "tuple[list[Prediction], float]":
        import numpy as np
        from rich.console import Console
        from rich.progress import track

        from mmocnet.config import SegmentSettings
        from mmocnet.evaluate.instances import Instances
        from mmocnet.io.picture import picture_array
        from mmocnet.io.read import read_scan
        from mmocnet.nets.checkpoint import load_cascade
        from mmocnet.predict.context import limits_for
        from mmocnet.predict.pipeline import segment

        assert self.model is not None
        cascade = load_cascade(self.model, self.device)
        settings = SegmentSettings(model=self.model, device=self.device)
        predictions: list[Prediction] = []
        for plane in track(planes, "Segmenting", console=Console(stderr=True)):
            scan = read_scan(folder / "images" / f"{plane.stem}.png", plane.pixel_mm)
            found = segment(scan, settings, cascade=cascade)
            confidence = np.zeros(len(found.candidates))
            for one in found.candidates:
                confidence[one.index - 1] = one.confidence
            listed = Instances(picture_array(found.candidate_labels), confidence)
            predictions.append(listed.without((*found.siderosis, *found.vessels)))
        balanced = limits_for(cascade.settings, 1).balanced
        return predictions, balanced if self.threshold is None else self.threshold

    def _measure_realism(self) -> None:
        from mmocnet.evaluate.realism import ranges
        from mmocnet.evaluate.tables import range_markdown, write_realism

        named = distinct_names(self.realism)
        found = {name: list(self._realism_of(path)) for name, path in named.items()}
        spans = {
            f"{name} ({len(figures)} slices)": ranges(figures) for name, figures in found.items()
        }
        print(range_markdown(spans))
        if self.out is not None:
            write_realism(found, self.out)

    def _realism_of(self, path: Path) -> "Iterator[Realism]":
        from mmocnet.evaluate.cases import read_image
        from mmocnet.evaluate.realism import volume_realism

        for image, brain in _images(path):
            volume = read_image(image, self.spacing_mm or 0.5)
            mask = None if brain is None else read_image(brain, None).array > 0
            yield from volume_realism(volume, mask)


def distinct_names(paths: Sequence[Path]) -> dict[str, Path]:
    """Return paths, each once, by so many of their last parts that no two are called the same.

    >>> list(distinct_names([Path("/a/images"), Path("/b/images")]))
    ['a/images', 'b/images']
    """
    places = dict.fromkeys(Path(os.path.abspath(path)) for path in paths)
    count, names = 1, {place.name: place for place in places}
    while len(names) < len(places):
        count += 1
        names = {"/".join(place.parts[-count:]): place for place in places}
    return names


def _images(path: Path) -> "Iterator[tuple[Path, Path | None]]":
    """Yield the images of a file, a BIDS dataset or a folder, each with its brain mask if any."""
    from mmocnet.io.dataset import read_dataset

    if path.is_file():
        yield path, None
    elif any(path.glob("sub-*")):
        for scan in read_dataset(path):
            yield scan.image, scan.brain
    else:
        files = [p for p in sorted(path.glob("*")) if p.name.lower().endswith(IMAGE_ENDINGS)]
        if not files:
            raise InputError(f"expected images in {path.name}, got none")
        for file in files:
            yield file, None


def at_false_positives(
    curve: "list[PlaneScores]", rates: tuple[float, ...] = FP_RATES
) -> "list[tuple[list[float], PlaneScores]]":
    """Return the lowest thresholds that keep to rates of false positives, each with its rates."""
    kept: dict[float, tuple[list[float], PlaneScores]] = {}
    for rate in rates:
        scores = next((s for s in curve if s.fp_per_plane <= rate), None)
        if scores is not None:
            kept.setdefault(scores.threshold, ([], scores))[0].append(rate)
    return list(kept.values())

"""The trained networks of a variant in a fold, and where they are kept."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmocnet.nets.segmenter import Segmenter
from mmocnet.predict.engine import Engine
from mmocnet.train.experiment_scores import fused_map
from mmocnet.train.mining import validation_map
from mmocnet.train.patches import TrainingScan
from mmocnet.train.split import Split
from mmocnet.train.stages import cascade_engine, train_first_stage, train_second_stage
from mmocnet.train.variants import Variant, digest, first_stage_digest, shared_first_stage


@dataclass(frozen=True)
class Trained:
    """A trained variant.

    Attributes:
        engine: Both networks; stage 2's is not trained where stage 1 alone is scored.
        candidate_threshold: Of stage 1.
        roi_size: Side of a patch.
        first: Folder of stage 1.
        second: Folder of stage 2.
    """

    engine: Engine
    candidate_threshold: float
    roi_size: int
    first: Path
    second: Path

    def detected(self, scan: TrainingScan) -> Any:
        """Return stage 1's probability of a scan, which is kept beside stage 1."""
        return validation_map(self.engine, scan, self.first)

    def fused(self, scan: TrainingScan) -> Any:
        """Return the cascade's probability of a scan."""
        return fused_map(
            self.engine, scan, self.detected(scan), self.candidate_threshold, self.roi_size
        )


def second_folder(out: Path, fold: int, variant: Variant) -> Path:
    """Return where stage 2 of a variant is trained in a fold."""
    return out / "stage2" / f"fold-{fold}-{digest(variant.settings)}"


def train_variant(out: Path, fold: int, variant: Variant, split: Split, device: str) -> Trained:
    """Train a variant in a fold, or load what is trained; stages are shared where they can be.

    Args:
        out: Folder of all experiments.
        fold: Names the folders.
        variant: What to train.
        split: Of that fold.
        device: cpu or cuda.
    """
    settings = variant.settings
    first = out / "stage1" / f"fold-{fold}-{first_stage_digest(settings)}"
    second = second_folder(out, fold, variant)
    detector, mined = train_first_stage(split, first, shared_first_stage(settings), device)
    if variant.scored == "cascade":
        segmenter = train_second_stage(split, mined, second, settings, device)
    else:
        segmenter = Segmenter(settings.cascade.segmenter)
    engine = cascade_engine(detector, segmenter, settings)
    return Trained(engine, mined.threshold, settings.cascade.roi_size, first, second)


def history_of(folder: Path) -> list[dict[str, float]]:
    """Return the rows of a stage's epochs; a stage of no epochs has none."""
    path = folder / "history.jsonl"
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{k: math.nan if v is None else v for k, v in row.items()} for row in rows]

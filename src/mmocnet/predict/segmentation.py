"""What segmenting one scan returns."""

from dataclasses import dataclass
from typing import Any, Literal

from mmocnet.io.dicom.source import DicomSource
from mmocnet.lesion import Lesion
from mmocnet.volume import Volume


@dataclass(frozen=True)
class Segmentation:
    """The microbleeds of one scan; every volume is on the scan's own grid.

    Attributes:
        image: The scan as it was read.
        labels: Each lesion its number, 0 elsewhere, int32.
        probability: Of a microbleed at each voxel, float32; see `predict.fuse.by_confidence`.
        candidate_labels: Every candidate to which stage 2 gives a probability of 0.05 or more its
            number, int32; lesions keep theirs.
        lesions: Rows of the lesion table, the most confident first, numbered from 1.
        candidates: Rows of the candidate table; it begins with the lesions.
        siderosis: Numbers of candidates set aside as possible superficial siderosis.
        vessels: Numbers of candidates set aside as long, thin and over 10 mm.
        warnings: One sentence for each doubt about the scan or the result.
        slice_axis: Voxel axis across which slices were cut.
        source: What kind of file the scan came from.
        provenance: Version, model, input, settings, thresholds, device; plain JSON values.
        dicom: The DICOM files that the scan came from, else None.
        outlining: Stage 2's probability, whatever is thought of its candidates, float32; None
            where it is not kept.
    """

    image: Volume
    labels: Volume
    probability: Volume
    candidate_labels: Volume
    lesions: tuple[Lesion, ...]
    candidates: tuple[Lesion, ...]
    siderosis: tuple[int, ...]
    vessels: tuple[int, ...]
    warnings: tuple[str, ...]
    slice_axis: int
    source: Literal["nifti", "picture", "dicom"]
    provenance: dict[str, Any]
    dicom: DicomSource | None = None
    outlining: Volume | None = None

    @property
    def is_slice(self) -> bool:
        """Whether the scan is a single slice."""
        return self.image.shape[self.slice_axis] == 1

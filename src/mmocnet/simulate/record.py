"""What a simulation returns: images, references and the table of what was put in."""

from dataclasses import dataclass

from mmocnet.simulate.settings import Protocol
from mmocnet.types import Triple
from mmocnet.volume import Volume


@dataclass(frozen=True)
class SimulatedLesion:
    """A row of the simulated table: a microbleed or a mimic.

    Attributes:
        index: Value in both label images; 0 for a mimic, which is in neither.
        kind: "microbleed", or which mimic: "calcification", "cavernoma", ...
        centre_mm: World RAS+ mm of the subject.
        mni_mm: The same point in MNI152 mm through the true warp.
        anatomy: Anatomical class at the centre, as "subcortical white matter".
        chi_ppm: Susceptibility of the source.
        radius_mm: Radius of the sphere of the source's volume.
        source_mm3: Volume of the source.
        apparent_mm3: Volume of the apparent mask; 0 where nothing is visible, NaN for a mimic.
        apparent_diameter_mm: Diameter of the sphere of the apparent volume, NaN for a mimic.
    """

    index: int
    kind: str
    centre_mm: Triple
    mni_mm: Triple
    anatomy: str
    chi_ppm: float
    radius_mm: float
    source_mm3: float
    apparent_mm3: float
    apparent_diameter_mm: float


@dataclass(frozen=True)
class SimulatedStudy:
    """One visit of one simulated subject.

    Attributes:
        seed: All that is random comes from it.
        protocol: The acquisition, every range resolved to a number.
        swi: What a reader sees: SWI, or the magnitude for protocols without phase weighting.
        magnitude: GRE magnitude of the last echo, same grid; None unless the settings ask
            for all images.
        phase_rad: GRE phase of the last echo, wrapped to (-pi, pi], same grid; None when they ask
            for the SWI alone.
        twin_swi: The same scan, noise included, without the microbleeds; None unless they ask
            for all images.
        brain: Brain mask, bool.
        apparent: What a reader outlines, each microbleed its index, int16.
        source: Where blood is, each microbleed its index, int16.
        lesions: Microbleeds first, by index, then mimics whose centre lies in the image.
    """

    seed: int
    protocol: Protocol
    swi: Volume
    magnitude: Volume | None
    phase_rad: Volume | None
    twin_swi: Volume | None
    brain: Volume
    apparent: Volume
    source: Volume
    lesions: tuple[SimulatedLesion, ...]

"""What vendors call their images: SWI, magnitude, phase and minimum intensity projection apart.

SWI, magnitude, phase and projection are called

- Siemens: SWI_Images or ImageType SWI; Mag_Images; Pha_Images or P; mIP_Images(SW) or MNIP
- GE: SWAN; MAG: SWAN; PHASE or FILT_PHA: SWAN; minIP
- Philips: SWIp or VenBOLD; ImageType M_FFE; ImageType PHASE MAP or P; mIP
- Canon: FSBB; FSBB magnitude; FSBB phase; minIP
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["swi", "magnitude", "phase", "minip", "other"]

VENDORS = {
    "siemens": ("siemens",),
    "ge": ("ge ", "ge_", "general electric"),
    "philips": ("philips",),
    "canon": ("canon", "toshiba"),
}

PHASE_SIGN = {"siemens": 1, "canon": 1, "philips": -1, "ge": -1}
"""Sign of the phase of blood along the field, where the scan itself does not tell: blood is bright
in filtered phase of the first two ("left-handed"), dark in the others ("right-handed"). Software
versions differ, so the scan is asked first."""

SWI = "SWI"
"""What an acquisition's ImageKind is of an image that is known to be SWI."""
SWI_TYPES = {"SWI", "SWIP", "SWAN", "FSBB"}
SWI_WORDS = re.compile(
    r"swi(p|_images|$|[^a-z])|(^|[^a-z])(e?swan|fsbb|ven(o|ous)?[_ ]?bold|bsi|susceptib)",
    re.IGNORECASE,
)
MAGNITUDE_WORDS = re.compile(r"(^|[^a-z])mag(_images|nitude|$|[^a-z])", re.IGNORECASE)
PHASE_WORDS = re.compile(r"(^|[^a-z])(filt_)?pha(se)?(_images|_?map|$|[^a-z])", re.IGNORECASE)
MINIP_WORDS = re.compile(r"min[-_ ]?ip|mnip|(^|[^a-z])mip($|[^a-z])", re.IGNORECASE)
MAP_WORDS = re.compile(
    r"(^|[^a-z])(qsm|r2[_ ]?(\*|star)|t2[_ ]?(\*|star)[_ ]?map|quantitative[_ ]susc)", re.IGNORECASE
)
MAP_TYPES = {"QSM", "R2_STAR", "R2_STAR MAP", "T2_STAR MAP", "R2*", "T2_STAR_MAP", "R2_STAR_MAP"}
T2_STAR_WORDS = re.compile(r"t2[_ ]?(\*|star)|(^|[^a-z])(gre|hemo|haemo|ffe)", re.IGNORECASE)
OTHER_WORDS = re.compile(
    r"field[-_ ]?map|b0[-_ ]?map|f[-_ ]?mri|(^|[^a-z])(bold|perf|dsc|asl|pcasl|t1)", re.IGNORECASE
)
"""Gradient echoes for something else: field maps, function, perfusion, T1 weighting."""

BESIDE_SWI = "beside images whose ImageType is SWI"
"""What tells the kind of images in a series of SWI whose own Image Type does not say so."""

# Words of the standard and of vendors; free text could name a patient.
_SAID_TYPES = SWI_TYPES | {
    "ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY", "M", "P", "R", "I", "MAGNITUDE", "PHASE",
    "M_FFE", "M_SE", "M_IR", "FFE", "SE", "IR", "NONE", "OTHER", "VOLUME", "MIXED", "NORM", "ND",
    "DIS2D", "DIS3D", "FM", "FIL", "FILTERED", "MPR", "REFORMATTED", "RESAMPLED", "ADDITION",
    "T2_STAR", "SUSC_WEIGHTED",
}  # fmt: skip

MIN_T2_STAR_ECHO_MS = 12.0
"""Gradient echoes later than this show blood."""

_GE_COMPONENTS: dict[int, Kind] = {1: "phase", 2: "other", 3: "other"}
"""Values of GE's private image type: magnitude, phase, real, imaginary from 0."""


@dataclass(frozen=True)
class Technique:
    """What tells the kind of an image; nothing of a patient.

    Attributes:
        modality: "MR".
        image_type: Values of Image Type, or Frame Type of a multi-frame image, in upper case.
        component: Complex Image Component, "" where none.
        description: Series description.
        protocol: Protocol and sequence name.
        sequence: Scanning sequence, such as "GR".
        echo_ms: Echo time; NaN where none.
        ge_component: GE's private number of magnitude, phase, real, imaginary; -1 where none.
    """

    modality: str = "MR"
    image_type: tuple[str, ...] = ()
    component: str = ""
    description: str = ""
    protocol: str = ""
    sequence: str = ""
    echo_ms: float = float("nan")
    ge_component: int = -1

    @property
    def is_resliced(self) -> bool:
        """Whether it was made from another series by cutting it anew."""
        made = {"MPR", "REFORMATTED", "RESAMPLED"} & set(self.image_type)
        return bool(made) or self.image_type[:2] == ("DERIVED", "SECONDARY")

    @property
    def said_type(self) -> str:
        """The image type as DICOM writes it, a question mark for words that nobody knows."""
        said = (one if one in _SAID_TYPES else "?" for one in self.image_type)
        return "\\".join(said) or "none"


def vendor_of(manufacturer: str) -> str:
    """Return "siemens", "ge", "philips", "canon", else the maker's first word in small letters.

    >>> vendor_of("GE MEDICAL SYSTEMS"), vendor_of("Canon Medical"), vendor_of("UIH")
    ('ge', 'canon', 'uih')
    """
    name = manufacturer.strip().lower()
    for vendor, starts in VENDORS.items():
        if f"{name} ".startswith(starts):
            return vendor
    return name.split()[0] if name else ""


def kind_of(one: Technique) -> tuple[Kind, str]:
    """Return the kind of an image and what tells it.

    >>> kind_of(Technique(image_type=("ORIGINAL", "PRIMARY", "P"), description="Pha_Images"))
    ('phase', 'ImageType P')
    """
    if one.modality != "MR":
        return "other", "not MR"
    types = set(one.image_type)
    for found in (_derived(one, types), _by_component(one, types), _susceptibility(one, types)):
        if found is not None:
            return found
    return _t2_star(one)


def kinds_of(series: Iterable[Technique]) -> dict[Technique, tuple[Kind, str]]:
    """Return the kind of each image of one series, and what tells it.

    Where the Image Type of some is SWI, it comes before the names, which all share: the others are
    the magnitude that it was made of.
    """
    kinds = {one: kind_of(one) for one in series}
    swi = {one: bool(SWI_TYPES & set(one.image_type)) for one in kinds if kinds[one][0] == "swi"}
    if any(swi.values()):
        kinds |= {one: ("magnitude", BESIDE_SWI) for one, told in swi.items() if not told}
    return kinds


def named_as_phase(description: str) -> bool:
    """Return whether a series description is that of phase.

    >>> named_as_phase("Pha_Images"), named_as_phase("FILT_PHA: SWAN"), named_as_phase("SWI")
    (True, True, False)
    """
    return PHASE_WORDS.search(description) is not None


def _derived(one: Technique, types: set[str]) -> tuple[Kind, str] | None:
    if types & {"MNIP", "MINIP", "MIN_IP", "MIN IP", "PROJECTION IMAGE"}:
        return "minip", "ImageType of a projection"
    if MINIP_WORDS.search(one.description):
        return "minip", "named as a projection"
    if types & {"LOCALIZER", "MOSAIC"}:
        return "other", "localizer or mosaic"
    if types & MAP_TYPES or MAP_WORDS.search(one.description):
        return "other", "map of susceptibility or relaxation"
    return None


def _by_component(one: Technique, types: set[str]) -> tuple[Kind, str] | None:
    phases = types & {"P", "PHASE", "PHASE MAP", "P_FFE", "PHASE_MAP"}
    if phases:
        return "phase", f"ImageType {min(phases)}"
    if one.component == "PHASE":
        return "phase", "Complex Image Component"
    if one.component in {"REAL", "IMAGINARY"} or types & {"R", "I", "REAL", "IMAGINARY"}:
        return "other", "real or imaginary part"
    if one.ge_component in _GE_COMPONENTS:
        return _GE_COMPONENTS[one.ge_component], "GE's private image type"
    if named_as_phase(one.description):
        return "phase", "named as phase"
    return None


def _susceptibility(one: Technique, types: set[str]) -> tuple[Kind, str] | None:
    if MAGNITUDE_WORDS.search(one.description):
        named = SWI_WORDS.search(f"{one.description} {one.protocol}")
        return ("magnitude", "named as magnitude") if named else None
    if types & SWI_TYPES:
        return "swi", f"ImageType {min(types & SWI_TYPES)}"
    if SWI_WORDS.search(one.description):
        return "swi", "named as SWI"
    if SWI_WORDS.search(one.protocol):
        return "swi", "protocol or sequence of SWI"
    return None


def _t2_star(one: Technique) -> tuple[Kind, str]:
    if OTHER_WORDS.search(f"{one.description} {one.protocol}"):
        return "other", "named as field map, function, perfusion or T1-weighted"
    if one.echo_ms < MIN_T2_STAR_ECHO_MS:
        return "other", "no name of SWI, and its echo is too early for T2*"
    if T2_STAR_WORDS.search(one.description):
        return "magnitude", "named as T2*-weighted"
    # Echo-planar series are function, perfusion and diffusion, unless they are named otherwise.
    if "GR" in one.sequence and "EP" not in one.sequence and not math.isnan(one.echo_ms):
        return "magnitude", f"gradient echo at {one.echo_ms:.0f} ms"
    return "other", "no name or setting of SWI"

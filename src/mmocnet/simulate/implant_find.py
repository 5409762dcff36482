"""The images of lesion-free scans in a folder: BIDS, or simply named files."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmocnet.errors import InputError
from mmocnet.io.dataset import entities, nifti_ending

ROLES = {
    "brain": re.compile(r"brain[-_ ]?mask"),
    "phase": re.compile(r"(?<![a-z])(phase|pha|ph)(?![a-z])"),
    "chi": re.compile(r"(?<![a-z])(chimap|chi\d*|qsm|susceptibility)(?![a-z])"),
    "swi": re.compile(r"(?<![a-z])(swi|minip)"),
    "magnitude": re.compile(r"(?<![a-z])(magnitude|mag)(?![a-z])"),
}
"""What a file's name says it is, the first that fits."""
EXPECTED = (
    "magnitude with phase or susceptibility: part-mag and part-phase, *_Chimap, or names with "
    "magnitude, phase, chi"
)


@dataclass(frozen=True)
class ScanFiles:
    """Files of one scan.

    Attributes:
        subject: BIDS label; None for a simply named scan.
        session: BIDS label of the visit, or None.
        magnitude: Magnitude image.
        phase: Phase image, or None.
        chi: Susceptibility map in ppm, or None.
        brain: Brain mask, or None.
        top: Of a simply named scan, which of the given folder's own folders it lies in; None for
            one that lies in none.
    """

    subject: str | None
    session: str | None
    magnitude: Path
    phase: Path | None = None
    chi: Path | None = None
    brain: Path | None = None
    top: str | None = None

    def by_role(self) -> dict[str, Path]:
        """Return the files that there are, by what they hold."""
        roles = {name: getattr(self, name) for name in ("magnitude", "phase", "chi", "brain")}
        return {name: path for name, path in roles.items() if path is not None}


@dataclass
class _Group:
    """Files of one scan as they are found, by role."""

    roles: dict[str, list[Path]] = field(default_factory=dict)

    def one(self, role: str) -> Path | None:
        """Return the only file of a role, None where there is none."""
        paths = self.roles.get(role, [])
        if len(paths) > 1:
            raise InputError(
                f"expected one {role} image a scan, got {', '.join(p.name for p in paths)}; "
                "leave one echo and one run in the folder"
            )
        return paths[0] if paths else None


def role_of(path: Path) -> str | None:
    """Return what a file's name says it holds: a key of `ROLES`, None where it says nothing.

    >>> role_of(Path("sub-01_part-phase_T2starw.nii.gz")), role_of(Path("b_chi33_ppm.nii"))
    ('phase', 'chi')
    """
    if path.name.startswith("sub-"):
        found = entities(path.name)
        if "swi" in found.get("acq", "").lower() and found.get("desc") != "brain":
            return "swi"
    # What stands behind "from" is what an image was made of, as in swi_from_chi.
    name = path.name.lower().split("from")[0]
    return next((role for role, pattern in ROLES.items() if pattern.search(name)), None)


def _key(path: Path, folder: Path, magnitudes: dict[Path, int]) -> tuple[str, str | None, str]:
    """Return which scan a file belongs to: subject or folder, session, start of its name."""
    if path.name.startswith("sub-"):
        found = entities(path.name)
        return found["sub"], found.get("ses"), ""
    where = path.parent.relative_to(folder).as_posix()
    if magnitudes.get(path.parent, 0) <= 1:
        return f"/{where}", None, ""
    role = role_of(path)
    match = None if role is None else ROLES[role].search(path.name.lower())
    return f"/{where}", None, "" if match is None else path.name[: match.start()]


def find_scans(folder: Path) -> tuple[ScanFiles, ...]:
    """Return the scans of a folder, by subject and session, or by name.

    Simply named files belong together within a folder of one magnitude, else by what stands
    before the word that says what they hold.

    Args:
        folder: Searched with all that lies below it.

    Raises:
        InputError: If there is no such folder, no scan in it, or a scan lacks magnitude, or
            both phase and susceptibility.
    """
    if not folder.is_dir():
        raise InputError(f"expected a folder of lesion-free scans, got {folder.name!r}")
    images = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and nifti_ending(path.name) and role_of(path) is not None
    ]
    magnitudes: dict[Path, int] = {}
    for path in images:
        if role_of(path) == "magnitude":
            magnitudes[path.parent] = magnitudes.get(path.parent, 0) + 1
    groups: dict[tuple[str, str | None, str], _Group] = {}
    for path in images:
        group = groups.setdefault(_key(path, folder, magnitudes), _Group())
        group.roles.setdefault(str(role_of(path)), []).append(path)
    scans = [_scan(key, group) for key, group in groups.items() if set(group.roles) != {"brain"}]
    if not scans:
        raise InputError(f"expected NIfTI scans of {EXPECTED}, got none in {folder.name}")
    return tuple(sorted(scans, key=lambda scan: (scan.subject or "", scan.session or "")))


def _scan(key: tuple[str, str | None, str], group: _Group) -> ScanFiles:
    first = next(iter(group.roles.values()))[0].name
    swi_alone = set(group.roles) <= {"swi", "brain"}
    if swi_alone:
        raise InputError(
            f"expected {EXPECTED}, got a weighted image alone, {first}: it has lost the complex "
            "signal that a lesion acts on"
        )
    magnitude = group.one("magnitude")
    if magnitude is None:
        raise InputError(f"expected {EXPECTED}, got no magnitude beside {first}")
    is_named = not key[0].startswith("/")
    subject = key[0] if is_named else None
    top = None if is_named or key[0] == "/." else key[0].split("/")[1]
    scan = ScanFiles(subject, key[1], magnitude, brain=group.one("brain"))
    scan = replace(scan, phase=group.one("phase"), chi=group.one("chi"), top=top)
    if scan.phase is None and scan.chi is None:
        raise InputError(
            f"expected {EXPECTED}, got neither phase nor susceptibility beside {magnitude.name}"
        )
    return scan

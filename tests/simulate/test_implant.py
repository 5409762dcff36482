from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike

from mmocnet.errors import InputError
from mmocnet.simulate.field import Sphere
from mmocnet.simulate.implant import (
    Weighting,
    complex_of,
    factors,
    implant,
    noise_sd,
    weighted,
)
from mmocnet.simulate.implant_place import draw_implants, find_places
from mmocnet.simulate.implant_read import RealScan
from mmocnet.simulate.implant_study import ImplantSettings, implant_study
from mmocnet.simulate.lesions import Source
from mmocnet.simulate.protocols import resolve_protocol
from mmocnet.simulate.record import SimulatedStudy
from mmocnet.simulate.rows import volume_mm3
from mmocnet.simulate.scene import draw_scene, spin_grid
from mmocnet.simulate.settings import StudySettings
from mmocnet.simulate.signal import Echo
from mmocnet.simulate.study import generators, simulate_study
from mmocnet.volume import Volume

SLAB_MM = 12.0
ECHO = Echo(20.0, 3.0, 1)
Pair = tuple[SimulatedStudy, RealScan, list[Source]]


def real(study: SimulatedStudy) -> RealScan:
    """Return a simulated lesion-free study as if it were a real one."""
    assert study.magnitude is not None
    assert study.phase_rad is not None
    return RealScan(
        magnitude=study.magnitude.like(study.magnitude.array.astype(np.float32)),
        phase_rad=study.phase_rad.array.astype(np.float32),
        brain=study.brain.array.astype(bool),
        echo=Echo(study.protocol.te_ms[-1], study.protocol.field_t, 1),
        phase_from="phase image",
        sha256={"magnitude": "0123456789abcdef"},
    )


@pytest.fixture(scope="module")
def pair() -> Pair:
    """Return a study simulated with microbleeds, the same one without, and the microbleeds."""
    settings = StudySettings("reference3t", 0.0, (10, 10), slab_mm=SLAB_MM)
    free = replace(settings, lesion_free_share=1.0, lesion_count=None)
    rngs = generators(1)
    protocol = resolve_protocol("reference3t", rngs["protocol"])
    grid, _ = spin_grid(protocol, SLAB_MM, rngs["protocol"])
    with torch.inference_mode():
        bodies = draw_scene(grid, settings, rngs, "cpu").microbleeds
    return simulate_study(settings, 1), real(simulate_study(free, 1)), bodies


@pytest.fixture(scope="module")
def flat() -> RealScan:
    """Return an even brain of 1 mm voxels without noise or phase."""
    shape = (48, 48, 24)
    volume = Volume(np.full(shape, 100, np.float32), np.diag([1.0, 1, 1, 1]), "flat")
    brain = np.zeros(shape, bool)
    brain[6:-6, 6:-6, 2:-2] = True
    return RealScan(
        volume, np.zeros(shape, np.float32), brain, ECHO, "phase image", {"magnitude": "0" * 64}
    )


def microbleed(centre: ArrayLike, radius: float = 0.8, chi: float = 1.6) -> Source:
    ball: Sphere = ((0.0, 0.0, 0.0), radius, chi)
    return Source("microbleed", np.asarray(centre), (ball,), 0.8)


def test_an_implanted_lesion_is_as_large_as_one_simulated_at_its_place(pair: Pair) -> None:
    direct, scan, bodies = pair
    done = implant(scan, bodies, [], seed=1)
    count = len(bodies) + 1
    wanted = np.bincount(direct.apparent.array.ravel(), minlength=count)[1:]
    found = np.bincount(done.apparent.array.ravel(), minlength=count)[1:]
    assert (wanted > 4).sum() >= 5
    # Voxels on the border of an outline fall either way with the noise of the scan.
    assert np.abs(found - wanted).max() <= 5
    assert np.abs(found.sum() - wanted.sum()) <= 0.1 * wanted.sum()
    both = ((direct.apparent.array > 0) & (done.apparent.array > 0)).sum()
    assert 2 * both / (wanted.sum() + found.sum()) > 0.85


def test_an_implanted_image_is_the_simulated_one_but_for_noise(pair: Pair) -> None:
    direct, scan, bodies = pair
    done = implant(scan, bodies, [], seed=1)
    twin = weighted(complex_of(scan), scan, Weighting())
    seen = direct.apparent.array > 0
    assert direct.magnitude is not None
    change = 1 - done.signal.abs().numpy()[seen] / scan.magnitude.array[seen]
    wanted = 1 - direct.magnitude.array[seen] / scan.magnitude.array[seen]
    assert np.corrcoef(change, wanted)[0, 1] > 0.9
    assert abs(np.median(change - wanted)) < 0.05
    assert np.array_equal(done.twin.array, twin)


def test_nothing_changes_where_nothing_is_implanted(flat: RealScan) -> None:
    done = implant(flat, [], [], seed=1)
    assert np.array_equal(done.swi.array, weighted(complex_of(flat), flat, Weighting()))
    assert not done.apparent.array.any()
    assert not done.source.array.any()


def test_references_lie_on_the_lesion_in_any_orientation(flat: RealScan) -> None:
    turned = np.array([[0.0, -1, 0, 40], [0, 0, 1, -9], [1, 0, 0, 5], [0, 0, 0, 1]])
    grid = Volume(flat.magnitude.array, turned, "turned")
    scan = replace(flat, magnitude=grid)
    centre = np.array([20.0, 25.0, 12.0])
    done = implant(scan, [microbleed(grid.world(centre))], [], seed=1)
    for labels in (done.apparent.array, done.source.array):
        assert np.abs(np.argwhere(labels == 1).mean(0) - centre).max() < 0.6
    # The main field lies along the first voxel axis here: poles there, equator across.
    phase = done.signal.angle().numpy()
    assert phase[23, 25, 12] > 0.02 > -0.005 > phase[20, 28, 12]


def test_blood_and_calcium_have_opposite_phase_but_both_are_dark(flat: RealScan) -> None:
    blood = microbleed((24.0, 24.0, 12.0))
    calcium = replace(microbleed((24.0, 24.0, 12.0), chi=-1.6), kind="calcification", density=0.25)
    first, second = (factors(flat, [body]) for body in (blood, calcium))
    assert first[24, 24, 15].angle() > 0.02
    assert second[24, 24, 15].angle() < -0.02
    assert max(float(f[24, 24, 12].abs()) for f in (first, second)) < 0.6


def test_mimics_are_in_the_twin_and_in_no_reference(flat: RealScan) -> None:
    calcium = replace(microbleed((16.0, 16.0, 12.0), chi=-2.0), kind="calcification", density=0.25)
    done = implant(flat, [microbleed((32.0, 32.0, 12.0))], [calcium], seed=1)
    assert done.twin.array[16, 16, 12] < 60
    assert done.twin.array[32, 32, 12] > 95
    assert done.swi.array[32, 32, 12] < 60
    assert set(np.unique(done.apparent.array)) == {0, 1}
    assert not done.apparent.array[10:22, 10:22].any()


def test_noise_stays_where_a_lesion_takes_the_signal(flat: RealScan) -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 4, flat.magnitude.shape).astype(np.float32)
    scan = replace(flat, magnitude=flat.magnitude.like(flat.magnitude.array + noise))
    assert noise_sd(scan) == pytest.approx(4, rel=0.05)
    hole = microbleed((24.0, 24.0, 12.0), radius=3.0, chi=4.0)
    first, second = (implant(scan, [hole], [], seed=seed).signal for seed in (1, 2))
    difference = (first - second)[22:27, 22:27, 10:15].real.numpy()
    assert difference.std() == pytest.approx(4 * np.sqrt(2), rel=0.2)
    assert (first - second)[4, 4].abs().max() < 0.5


def test_lesions_lie_in_plain_tissue_apart_from_each_other(pair: Pair) -> None:
    _, scan, _ = pair
    image = weighted(complex_of(scan), scan, Weighting())
    places = find_places(scan, image)
    drawn = draw_implants(places, 12, True, np.random.default_rng(5))
    bodies = [*drawn.microbleeds, *drawn.mimics]
    assert len(drawn.microbleeds) >= 8
    voxels = np.round(scan.magnitude.voxel(np.stack([b.centre_mm for b in bodies]))).astype(int)
    assert scan.brain[tuple(voxels.T)].all()
    median = np.median(image[scan.brain])
    assert (image[tuple(voxels.T)] > 0.6 * median).all()
    gaps = [np.linalg.norm(a.centre_mm - b.centre_mm) for a in bodies for b in bodies if a is not b]
    assert min(gaps) > 4


def test_a_seed_gives_the_same_study_and_another_another(pair: Pair) -> None:
    _, scan, _ = pair
    settings = ImplantSettings(seed=4, lesion_free_share=0.0, lesion_count=(3, 3))
    first, again = implant_study(scan, settings), implant_study(scan, settings)
    assert first.lesions[:3] == again.lesions[:3]
    assert np.array_equal(first.swi.array, again.swi.array)
    other = implant_study(scan, replace(settings, seed=5))
    assert other.lesions[0].centre_mm != first.lesions[0].centre_mm
    assert [lesion.index for lesion in first.lesions[:3]] == [1, 2, 3]
    seen = np.bincount(first.apparent.array.ravel(), minlength=4)[1:4]
    voxel_mm3 = first.swi.voxel_mm3
    assert [one.apparent_mm3 for one in first.lesions[:3]] == pytest.approx(seen * voxel_mm3)


def test_a_brain_without_plain_tissue_is_refused(flat: RealScan) -> None:
    with pytest.raises(InputError, match="plain tissue"):
        implant_study(replace(flat, brain=np.zeros_like(flat.brain)), ImplantSettings())


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"lesion_free_share": 2.0}, {"lesion_count": (3, 1)}]
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        ImplantSettings(**wrong)


def test_a_volume_counts_what_spheres_share_once() -> None:
    ball = microbleed((0.0, 0.0, 0.0), radius=1.0)
    assert volume_mm3(ball) == pytest.approx(4 / 3 * np.pi, rel=0.05)
    chain = tuple(((0.0, 0.0, z), 0.5, 0.5) for z in np.arange(-4, 4.01, 0.25))
    tube = np.pi * 0.5**2 * 8 + 4 / 3 * np.pi * 0.5**3
    assert volume_mm3(replace(ball, spheres=chain)) == pytest.approx(tube, rel=0.1)

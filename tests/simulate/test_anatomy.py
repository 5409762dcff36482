import numpy as np
import pytest
import torch

from mmocnet.simulate.anatomy import GROUPS, Anatomy, make_anatomy
from mmocnet.simulate.grid import Grid, upsample
from mmocnet.simulate.nuclei import NUCLEI, signed_distance_mm
from mmocnet.simulate.subject import WARP_MM, Traits, Warp, draw_traits
from mmocnet.simulate.templates import Templates


def group_mask(anatomy: Anatomy, name: str) -> torch.Tensor:
    return anatomy.groups == GROUPS.index(name)


def millilitres(anatomy: Anatomy, mask: torch.Tensor) -> float:
    grid = anatomy.grid if mask.shape == anatomy.grid.shape else anatomy.coarse
    return float(mask.sum()) * float(np.prod(grid.spacing_mm)) / 1000


def test_tissue_shares_lie_between_0_and_1_and_sum_to_1(anatomy: Anatomy) -> None:
    shares = torch.stack([anatomy.white, anatomy.grey, anatomy.csf])
    assert float(shares.min()) >= -1e-6
    assert float(shares.max()) <= 1 + 1e-6
    torch.testing.assert_close(shares.sum(0), torch.ones_like(anatomy.white))


def test_warp_and_its_inverse_cancel(anatomy: Anatomy, rng: np.random.Generator) -> None:
    points = rng.uniform(-55, 55, (300, 3))
    there_and_back = anatomy.warp.to_subject(anatomy.warp.to_mni(points))
    back_and_there = anatomy.warp.to_mni(anatomy.warp.to_subject(points))
    assert np.abs(there_and_back - points).max() < 0.1
    assert np.abs(back_and_there - points).max() < 0.1


def test_the_warp_displaces_by_what_its_wavelengths_sum_to() -> None:
    """SDs of independent fields add in squares, 2.0 mm; interpolation takes a tenth."""
    rng = np.random.default_rng(8)
    grid = Grid((-100.0, -120.0, -100.0), (4.0, 4.0, 4.0), (50, 60, 50))
    shifts = []
    for _ in range(6):
        warp = Warp(grid, draw_traits(rng), rng, "cpu")
        shift = warp.mni_mm - warp.linear_mni(grid.centres_mm("cpu"))
        shifts.append(float(shift[:, 10:-10, 10:-10, 10:-10].square().mean()))
    expected = sum(sd**2 for _, sd in WARP_MM) ** 0.5
    assert np.sqrt(np.mean(shifts)) == pytest.approx(0.9 * expected, rel=0.2)


def test_the_warp_and_its_inverse_cancel_beyond_a_slab(rng: np.random.Generator) -> None:
    slab = Grid((-80.0, -114.0, 10.0), (2.0, 2.0, 2.0), (80, 98, 7))
    warp = Warp(slab, draw_traits(rng), rng, "cpu")
    points = rng.uniform(-60, 60, (100, 3))
    assert np.abs(warp.to_mni(warp.to_subject(points)) - points).max() < 0.1


def test_the_warp_folds_nothing(anatomy: Anatomy) -> None:
    slopes = [
        torch.stack(torch.gradient(c, spacing=list(anatomy.coarse.spacing_mm)))
        for c in anatomy.warp.mni_mm
    ]
    jacobian = torch.linalg.det(torch.stack(slopes).permute(2, 3, 4, 0, 1))
    assert float(jacobian.min()) > 0.1


def test_ventricles_hold_csf_and_a_plausible_volume(anatomy: Anatomy) -> None:
    inside = anatomy.ventricle_mm <= 0
    csf = upsample(anatomy.csf[None], anatomy.coarse.shape)[0]
    assert float(csf[inside].mean()) > 0.9
    assert 3 < millilitres(anatomy, inside) < 120


def test_the_brain_has_a_plausible_volume(anatomy: Anatomy) -> None:
    assert 1100 < millilitres(anatomy, anatomy.depth_mm > 0) < 2300
    solid = upsample(anatomy.depth_mm[None], anatomy.grid.shape)[0] > 0
    grey, white = (float(share[solid].sum()) for share in (anatomy.grey, anatomy.white))
    assert 0.8 < grey / white < 2.2


def test_each_location_class_lies_where_its_name_says(anatomy: Anatomy) -> None:
    def centre(name: str) -> torch.Tensor:
        """Median of |x|, y and z in MNI mm."""
        mni = anatomy.warp.mni_mm[:, group_mask(anatomy, name)]
        return torch.stack([mni[0].abs(), mni[1], mni[2]]).median(dim=1).values

    cerebellum, stem = centre("cerebellum"), centre("brainstem")
    assert cerebellum[2] < -20
    assert cerebellum[1] < stem[1] - 15
    assert stem[0] < 12
    torch.testing.assert_close(
        centre("thalamus"), torch.tensor([11.5, -18.0, 8.0]), atol=4.0, rtol=0
    )
    assert centre("basal ganglia")[1] > centre("thalamus")[1] + 10
    depth = anatomy.depth_mm
    cortex, deep = (group_mask(anatomy, n) for n in ("cortex", "subcortical white matter"))
    assert depth[cortex].median() < depth[deep].median()


def test_no_class_but_outside_reaches_beyond_the_brain(anatomy: Anatomy) -> None:
    assert bool((anatomy.depth_mm[anatomy.groups > 0] > 0).all())


def test_iron_lies_in_the_nuclei_only_and_most_in_the_pallidum(anatomy: Anatomy) -> None:
    mni = upsample(anatomy.warp.mni_mm, anatomy.grid.shape)
    nearest = torch.stack([signed_distance_mm(n, mni) for n in NUCLEI]).min(0).values
    assert float(anatomy.iron_ppm[nearest > 4].max()) == 0
    mean = {
        nucleus.name: float(anatomy.iron_ppm[signed_distance_mm(nucleus, mni) < -0.5].mean())
        for nucleus in NUCLEI
        if nucleus.name in ("pallidum", "putamen", "thalamus")
    }
    assert mean["pallidum"] > 2 * mean["putamen"] > 2 * mean["thalamus"] > 0


def test_a_nucleus_ends_at_its_half_axes() -> None:
    caudate = NUCLEI[0]
    centre = torch.tensor(caudate.centre_mm)
    cos, sin = np.cos(caudate.yaw), np.sin(caudate.yaw)
    a, b, c = caudate.radii_mm
    ends = torch.stack(
        [
            centre + torch.tensor([cos * a, sin * a, 0.0]).float(),
            centre + torch.tensor([-sin * b, cos * b, 0.0]).float(),
            centre + torch.tensor([0.0, 0.0, c]),
        ],
        dim=1,
    )
    assert signed_distance_mm(caudate, ends).abs().max() < 1e-3
    mirrored = ends * torch.tensor([[-1.0], [1.0], [1.0]])
    assert signed_distance_mm(caudate, mirrored).abs().max() < 1e-3


def test_atrophy_widens_sulci_and_ventricles(templates: Templates) -> None:
    grid = Grid((-80.0, -114.0, 0.0), (1.6, 1.6, 1.6), (100, 122, 14))

    def csf_share(atrophy: float) -> float:
        traits = Traits(70, atrophy, 1.0, 0.0, np.eye(3), np.ones(3))
        head = make_anatomy(grid, templates, traits, np.random.default_rng(9), "cpu")
        inside = upsample(head.depth_mm[None], grid.shape)[0] > 2
        return float(head.csf[inside].mean())

    assert csf_share(1.0) > 1.3 * csf_share(0.1)


def test_subjects_are_aged_50_to_88_and_atrophy_rises_with_age() -> None:
    rng = np.random.default_rng(10)
    subjects = [draw_traits(rng) for _ in range(300)]
    ages = np.array([s.age for s in subjects])
    assert ages.min() >= 50
    assert ages.max() <= 88
    assert np.corrcoef(ages, [s.atrophy for s in subjects])[0, 1] > 0.4
    for subject in subjects[:20]:
        np.testing.assert_allclose(subject.rotation @ subject.rotation.T, np.eye(3), atol=1e-12)

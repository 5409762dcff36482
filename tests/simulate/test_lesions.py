import numpy as np
import pytest

from mmocnet.simulate.anatomy import Anatomy
from mmocnet.simulate.lesions import (
    ATRIUM_MNI_MM,
    ATRIUM_REACH_MM,
    CHI_LOG_MEDIAN_PPM,
    CHI_RANGE_PPM,
    LOCATION_SHARES,
    RADIUS_LOG_MEDIAN_MM,
    RADIUS_RANGE_MM,
    Source,
    draw_count,
    draw_fluid,
    draw_iron,
    draw_microbleeds,
    draw_mimics,
    draw_spheres,
    group_at,
)


def test_counts_are_those_of_real_subjects_with_any() -> None:
    rng = np.random.default_rng(14)
    counts = np.array([draw_count(rng) for _ in range(20000)])
    assert np.mean(counts == 1) == pytest.approx(0.49, abs=0.04)
    assert np.quantile(counts, 0.9) == pytest.approx(11, abs=2)
    assert counts.min() == 1
    assert counts.max() == 83


@pytest.fixture(scope="module")
def many(anatomy: Anatomy) -> list[Source]:
    return draw_microbleeds(anatomy, 900, np.random.default_rng(15))


def test_microbleeds_lie_where_real_ones_do(anatomy: Anatomy, many: list[Source]) -> None:
    """A few are moved next to others, so the shares hold to a few hundredths."""
    groups = [group_at(anatomy, source.centre_mm) for source in many]
    for name, share in LOCATION_SHARES.items():
        assert groups.count(name) / len(groups) == pytest.approx(share, abs=0.05)
    assert not {"outside", "csf"} & set(groups)


def test_some_microbleeds_cluster(many: list[Source]) -> None:
    centres = np.array([source.centre_mm for source in many])
    gaps = np.linalg.norm(centres[1:, None] - centres[None], axis=-1)
    nearest = np.array([gaps[n, : n + 1].min() for n in range(len(gaps))])
    assert 0.05 < np.mean(nearest[450:] < 6) < 0.5


def test_the_susceptibility_and_size_of_microbleeds_are_those_asked_for() -> None:
    rng = np.random.default_rng(16)
    spheres = [draw_spheres(1.0, 2.0, rng) for _ in range(400)]
    assert {len(s) for s in spheres} == {1, 2, 3, 4, 5}
    singles = [s for s in spheres if len(s) == 1]
    assert all(s[0][1:] == (1.0, 2.0) for s in singles)
    volumes = [sum(radius**3 for _, radius, _ in s) for s in spheres]
    assert 0.8 < np.median(volumes) < 1.6
    assert all(0.5 <= r <= 1.0 and 1.4 <= chi <= 2.2 for s in spheres for _, r, chi in s)


def test_single_spheres_follow_the_log_normal_laws(many: list[Source]) -> None:
    single = np.array([s.spheres[0][1:] for s in many if len(s.spheres) == 1])
    assert np.median(single[:, 0]) == pytest.approx(RADIUS_LOG_MEDIAN_MM, rel=0.1)
    assert np.median(single[:, 1]) == pytest.approx(CHI_LOG_MEDIAN_PPM, rel=0.1)
    assert single[:, 0].min() >= RADIUS_RANGE_MM[0]
    assert single[:, 0].max() <= RADIUS_RANGE_MM[1]
    assert single[:, 1].min() >= CHI_RANGE_PPM[0]
    assert single[:, 1].max() <= CHI_RANGE_PPM[1]


def test_the_reach_holds_every_sphere() -> None:
    source = Source(
        "microbleed", np.zeros(3), (((3.0, 4.0, 0.0), 1.0, 1.0), ((0.0, 0, 0), 2, 1)), 1
    )
    assert source.reach_mm == 6.0


def test_mimics_are_as_common_and_of_the_sign_that_they_should_be(anatomy: Anatomy) -> None:
    rng = np.random.default_rng(17)
    subjects = [draw_mimics(anatomy, rng) for _ in range(150)]
    calcified = [any(s.kind == "calcification" for s in mimics) for mimics in subjects]
    assert np.mean(calcified) == pytest.approx(0.5, abs=0.12)
    cavernomas = [any(s.kind == "cavernoma" for s in mimics) for mimics in subjects]
    assert 0.02 < np.mean(cavernomas) < 0.16
    for source in (s for mimics in subjects for s in mimics):
        signs = {np.sign(chi) for _, _, chi in source.spheres}
        assert signs == ({-1.0} if source.kind == "calcification" else {1.0})


def test_the_choroid_plexus_lies_in_its_ventricle(anatomy: Anatomy) -> None:
    """A grape in white matter would be a microbleed in all but name."""
    rng = np.random.default_rng(19)
    mimics = [s for _ in range(40) for s in draw_mimics(anatomy, rng)]
    plexus = [s for s in mimics if s.kind == "choroid plexus"]
    grapes = [s.centre_mm + np.array(offset) for s in plexus for offset, _, _ in s.spheres]
    assert len(plexus) == 80
    assert {group_at(anatomy, grape) for grape in grapes} == {"csf"}
    lateral = anatomy.warp.to_mni(np.array(grapes))
    lateral[:, 0] = np.abs(lateral[:, 0])
    assert (np.linalg.norm(lateral - ATRIUM_MNI_MM, axis=1) < ATRIUM_REACH_MM + 8).all()
    assert lateral.std(axis=0).min() > 1


def test_fluid_and_iron_list_bodies_of_no_and_of_positive_susceptibility(anatomy: Anatomy) -> None:
    rng = np.random.default_rng(18)
    fluid, lacunes = zip(*(draw_fluid(anatomy, rng) for _ in range(6)), strict=True)
    assert sum(cloud.volume_mm3.sum() for cloud in fluid) > 0
    assert all(s.kind == "lacune" and s.spheres[0][2] == 0 for some in lacunes for s in some)
    iron, streaks = zip(*(draw_iron(anatomy, 0.5, rng) for _ in range(6)), strict=True)
    assert all((cloud.weight > 0).all() for cloud in iron)
    assert all(group_at(anatomy, s.centre_mm) == "basal ganglia" for some in streaks for s in some)


def test_a_point_beyond_the_box_is_outside(anatomy: Anatomy) -> None:
    assert group_at(anatomy, np.array([500.0, 0, 0])) == "outside"

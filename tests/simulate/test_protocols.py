from typing import get_args

import numpy as np
import pytest

from mmocnet.errors import InputError
from mmocnet.simulate.protocols import PROTOCOLS, resolve_protocol
from mmocnet.simulate.settings import Protocol, ProtocolName


def test_every_name_that_the_settings_allow_has_a_protocol() -> None:
    assert set(get_args(ProtocolName)) == {*PROTOCOLS, "random"}
    assert all(protocol.name == key for key, protocol in PROTOCOLS.items())


def test_an_unknown_protocol_is_refused_with_those_that_exist(rng: np.random.Generator) -> None:
    with pytest.raises(InputError, match=r"ukb.*random.*'ge'"):
        resolve_protocol("ge", rng)  # type: ignore[arg-type]


def test_a_named_protocol_takes_nothing_from_chance(rng: np.random.Generator) -> None:
    before = rng.bit_generator.state
    assert resolve_protocol("reference3t", rng) == PROTOCOLS["reference3t"]
    assert rng.bit_generator.state == before


def test_clinical_scans_span_the_resolutions_in_use() -> None:
    rng = np.random.default_rng(19)
    drawn = [resolve_protocol("clinical", rng) for _ in range(200)]
    assert all(0.45 <= p.voxel_mm[0] == p.voxel_mm[1] <= 0.7 for p in drawn)
    assert {p.voxel_mm[2] for p in drawn} == {1.5, 2.0, 3.0, 5.0}
    assert all(20 <= p.te_ms[-1] <= 25 for p in drawn)


def test_dou_scans_span_weak_to_strong_t1_weighting() -> None:
    rng = np.random.default_rng(21)
    drawn = [resolve_protocol("dou", rng) for _ in range(200)]
    flips = [p.flip_deg for p in drawn]
    assert 10 <= min(flips) < 11
    assert 19 < max(flips) <= 20
    assert all(25 <= p.snr <= 60 for p in drawn)
    assert {p.highpass_width for p in drawn} == {64, 96, 128}


@pytest.fixture(scope="module")
def randoms() -> list[Protocol]:
    rng = np.random.default_rng(20)
    return [resolve_protocol("random", rng) for _ in range(600)]


def test_random_draws_every_protocol_but_the_reference(randoms: list[Protocol]) -> None:
    assert {p.name for p in randoms} == set(PROTOCOLS) - {"reference3t"}


def test_random_varies_what_transfers_worst(randoms: list[Protocol]) -> None:
    assert {p.image for p in randoms} == {"swi", "magnitude"}
    assert {p.phase_sign for p in randoms} == {1, -1}
    assert {p.mask_power for p in randoms} == {2, 3, 4, 5}
    assert {p.highpass_width for p in randoms} == {32, 48, 64, 96, 128}
    assert {p.output_mm for p in randoms} == {None, 0.5}
    for flag in ("eight_bit", "skull_stripped"):
        assert 0.1 < np.mean([getattr(p, flag) for p in randoms]) < 0.9


def test_random_numbers_stay_possible(randoms: list[Protocol]) -> None:
    for protocol in randoms:
        assert 0.4 <= protocol.voxel_mm[0] <= 1.1
        assert 0.8 <= protocol.voxel_mm[2] <= 7
        # The Dou sequence shifts its echo past later pulses.
        assert protocol.name == "dou" or protocol.te_ms[-1] < protocol.tr_ms
        assert 10 <= protocol.snr <= 60
        assert 5 <= protocol.flip_deg <= 30

import numpy as np
import pytest

from mmocnet.config import BurdenSettings
from mmocnet.predict.confidence import others, probability

BURDEN = BurdenSettings(scale=0.9, offset=-1.2, weight=0.3)


def test_what_is_sure_elsewhere_makes_a_doubtful_spot_likelier() -> None:
    doubtful = [
        probability(np.array([0.0, *[5.0] * sure]), 1.0, 0.0, BURDEN)[0] for sure in (0, 1, 4, 9)
    ]
    assert doubtful == sorted(doubtful)
    assert doubtful[0] == pytest.approx(1 / (1 + np.exp(1.2)))
    assert doubtful[2] == pytest.approx(1 / (1 + np.exp(1.2 - 0.3 * 4 * 0.94331)), abs=1e-4)


def test_many_doubtful_candidates_are_no_burden() -> None:
    alone = probability(np.array([1.0]), 1.0, 0.0, BURDEN)[0]
    beside_veins = probability(np.array([1.0, *[-5.0] * 1000]), 1.0, 0.0, BURDEN)[0]
    assert beside_veins == pytest.approx(alone, abs=5e-3)


def test_beyond_a_number_others_add_nothing() -> None:
    some, many = (probability(np.array([0.0, *[20.0] * n]), 1.0, 0.0, BURDEN)[0] for n in (13, 500))
    assert many == pytest.approx(some, abs=1e-6)


def test_the_order_of_candidates_stays(rng: np.random.Generator) -> None:
    logit = np.sort(rng.normal(-2.0, 3.0, 40))
    steep = BurdenSettings(scale=0.5, offset=-2.0, weight=1.0, most=100.0)
    assert (np.diff(probability(logit, 1.0, 0.0, steep)) > 0).all()


def test_without_candidates_there_is_nothing_to_say() -> None:
    assert probability(np.zeros(0), 1.0, 0.0, BURDEN).shape == (0,)
    assert others(np.zeros(0), 10.0).shape == (0,)


def test_extreme_scores_stay_within_0_and_1() -> None:
    given = probability(np.array([-1e6, 1e6]), 1.0, 0.0, BURDEN)
    assert np.isfinite(given).all()
    assert 0 < given[0] < 1e-9
    assert 1 - 1e-9 < given[1] < 1

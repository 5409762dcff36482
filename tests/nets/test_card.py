import json
import math
from pathlib import Path

import pytest

from mmocnet.nets import card
from mmocnet.nets.card import (
    point_meanings,
    point_sentence,
    read_card,
    simulated_only,
    slice_point_sentence,
    training_text,
)


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_a_card_that_cannot_be_read_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    monkeypatch.setattr(card, "shipped_folder", lambda: tmp_path)
    (tmp_path / "compact").mkdir()
    if text is not None:
        (tmp_path / "compact" / "card.json").write_text(text)
    assert read_card("compact") == {}


def test_the_card_of_a_shipped_model_has_its_points() -> None:
    meanings = point_meanings(read_card("compact"))
    assert [one.name for one in meanings] == ["screening", "balanced", "report"]
    thresholds = [one.threshold for one in meanings]
    assert thresholds == sorted(thresholds)
    folder = card.shipped_folder() / "compact"
    settings = json.loads((folder / "settings.json").read_text())
    assert thresholds == list(settings["thresholds"].values())


def test_undefined_scores_and_missing_intervals_are_nan() -> None:
    point = {
        "threshold": 0.5,
        "lesion_sensitivity": 0.8,
        "lesion_sensitivity_interval": [0.7, None],
        "lesion_precision": None,
        "fp_per_scan": 0.0,
    }
    names = ("screening", "balanced", "report")
    first = point_meanings({"operating_points": dict.fromkeys(names, point)})[0]
    assert (first.sensitivity.value, first.sensitivity.low) == (0.8, 0.7)
    assert math.isnan(first.sensitivity.high)
    assert math.isnan(first.precision.value)
    assert first.fp_per_scan.value == 0.0
    assert math.isnan(first.fp_per_scan.low)


@pytest.mark.parametrize("content", [{}, {"operating_points": {"balanced": {}}}])
def test_a_card_without_the_points_means_nothing(content: dict[str, object]) -> None:
    assert point_meanings(content) == ()


def test_a_threshold_is_explained_only_where_it_is_a_point() -> None:
    content = read_card("compact")
    balanced = content["operating_points"]["balanced"]
    sentence = point_sentence(content, balanced["threshold"])
    assert sentence is not None
    assert "40 simulated volumes" in sentence
    assert f"{100 * balanced['lesion_sensitivity']:.0f} % of lesions found" in sentence
    assert point_sentence(content, balanced["threshold"] + 0.001) is None
    assert point_sentence({}, 0.5) is None


def test_a_meaning_says_that_it_was_measured_without_phase() -> None:
    content = read_card("standard")
    points = content["operating_points"]
    sentence = point_sentence(content, points["balanced"]["threshold"])
    assert sentence is not None
    assert sentence.startswith("110 simulated volumes without phase: 71 % (60-81) of lesions found")
    alone = slice_point_sentence(content, points["single_slices"]["balanced"]["threshold"])
    assert alone is not None
    assert alone.startswith("501 simulated slices without phase: 45 % (39-51) of lesions found")
    assert "without phase" not in str(point_sentence(read_card("compact"), 0.425))


@pytest.mark.parametrize("model", ["standard", "compact"])
def test_only_a_shipped_model_says_that_it_knows_simulated_scans_alone(model: str) -> None:
    content = read_card(model)
    assert simulated_only(content)
    assert training_text(content) == "simulated scans"
    tuned = content | {"finetune": {"better": True}}
    assert not simulated_only(tuned)
    assert training_text(tuned) == "simulated scans, then fine-tuned on a user's scans"
    points = content["operating_points"]
    for simulated in (True, False):
        own = {"dataset": "mine", "operating_points": points | {"simulated": simulated}}
        assert not simulated_only(own)
        assert training_text(own) == "mine"
    assert not simulated_only({})
    for simulated, said in ((True, "mine, simulated ("), (False, "mine (")):
        told = {"dataset": "mine", "simulated": simulated, "operating_points": {"simulated": True}}
        counts = {"train_scans": 7, "train_subjects": 5, "train_lesions": 30}
        assert simulated_only(told) is simulated
        assert training_text(told | counts) == f"{said}scans: 7, subjects: 5, microbleeds: 30)"
        assert not simulated_only(told | {"finetune": {}})

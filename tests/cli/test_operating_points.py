import json
from pathlib import Path

import pytest

from mmocnet.cli import main
from mmocnet.cli.operating_points import operating_point_text
from mmocnet.nets import card
from mmocnet.nets.card import default_model, read_card


def write_card(folder: Path, points: dict[str, object]) -> None:
    folder.mkdir()
    (folder / "card.json").write_text(json.dumps({"operating_points": points}))


POINTS = {
    name: {
        "threshold": threshold,
        "lesion_sensitivity": sensitivity,
        "lesion_sensitivity_interval": [sensitivity - 0.03, sensitivity + 0.02],
        "lesion_precision": precision,
        "lesion_precision_interval": [precision - 0.04, precision + 0.01],
        "fp_per_scan": false,
        "fp_per_scan_interval": [false / 2, false * 2],
    }
    for name, threshold, sensitivity, precision, false in (
        ("screening", 0.11, 0.97, 0.71, 2.25),
        ("balanced", 0.43, 0.91, 0.88, 0.5),
        ("report", 0.78, 0.81, 0.96, 0.125),
    )
}


def test_help_of_segment_has_the_numbers_of_the_shipped_card(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["segment", "--help"])
    printed = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    points = read_card(default_model())["operating_points"]
    assert f"{points['volumes']} simulated volumes" in " ".join(lines)
    for name in ("screening", "balanced", "report"):
        row = next(line for line in lines if line.startswith(f"{name} "))
        assert f"{points[name]['threshold']:.2f}" in row
        assert f"{100 * points[name]['lesion_sensitivity']:.0f} %" in row
        assert f"{100 * points[name]['lesion_precision']:.0f} %" in row
        assert f"{points[name]['fp_per_scan']:.2f}" in row
    assert "Research use only" in printed


def test_intervals_and_calibration_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "shipped_folder", lambda: tmp_path)
    more = {"volumes": 80, "simulated": True, "measured": "..", "calibration": {"ece": 0.0234}}
    write_card(tmp_path / "standard", POINTS | more)
    text = operating_point_text()
    assert "model standard, measured on 80 simulated volumes" in text
    rows = {words[0]: " ".join(words[1:]) for words in map(str.split, text.splitlines()) if words}
    assert rows["balanced"] == "0.43 91 % (88-93) 88 % (84-89) 0.50 (0.25-1.00)"
    assert "off by 0.023 on average" in text
    assert max(map(len, text.splitlines()[1:5])) <= 80


def test_real_scans_are_not_called_simulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "shipped_folder", lambda: tmp_path)
    write_card(tmp_path / "compact", POINTS | {"volumes": 8, "simulated": False})
    assert "chosen and measured on 8 real volumes" in operating_point_text()


def test_a_model_that_never_shipped_has_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "shipped_folder", lambda: tmp_path)
    assert operating_point_text() == ""
    assert operating_point_text("paper") == ""

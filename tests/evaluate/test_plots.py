import sys
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from mmocnet.errors import InputError
from mmocnet.evaluate.lesions import Froc
from mmocnet.evaluate.plots import (
    bland_altman,
    epoch_curves,
    froc_plot,
    mean_interval,
    new_figure,
    panel,
    png_bytes,
    precision_recall_curves,
    raincloud,
    reliability,
    save_png,
)

PNG = b"\x89PNG"


@pytest.fixture
def ax():
    return new_figure(4, 3).subplots()


def drawn(ax):
    data = png_bytes(ax.figure)
    assert data.startswith(PNG)
    return data


def words(ax):
    return [text.get_text() for text in ax.texts]


def test_the_same_figure_gives_the_same_png():
    pictures = []
    for _ in range(2):
        ax = new_figure(3, 2).subplots()
        raincloud(ax, {"a": np.linspace(0, 1, 30)}, "DSC")
        pictures.append(drawn(ax))
    assert pictures[0] == pictures[1]


def test_a_png_is_saved_in_a_new_folder(ax, tmp_path):
    save_png(ax.figure, tmp_path / "new" / "plot.png")
    assert (tmp_path / "new" / "plot.png").read_bytes().startswith(PNG)


def test_a_raincloud_counts_what_is_undefined(ax):
    raincloud(ax, {"full": np.array([0.2, np.nan, 0.8]), "none": np.array([np.nan])}, "DSC")
    drawn(ax)
    labels = [tick.get_text() for tick in ax.get_yticklabels()]
    assert labels == ["full\nn = 2, 1 undefined", "none\nn = 0, 1 undefined"]
    assert words(ax)[0].startswith("0.50 (")


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.5, 0.5], [0.1, 0.9]])
def test_a_raincloud_takes_few_or_equal_values(ax, values):
    raincloud(ax, {"a": np.array(values, dtype=float)}, "DSC")
    drawn(ax)


def test_a_mean_over_subjects_has_a_wider_interval_than_over_alike_images():
    values = np.repeat([0.1, 0.4, 0.6, 0.9], 10)
    whose = list(np.repeat(["a", "b", "c", "d"], 10))
    alone, together = mean_interval(values), mean_interval(values, whose)
    assert alone.value == together.value == pytest.approx(0.5)
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_precision_recall_names_the_area(ax):
    precision_recall_curves(ax, {"full": ([0.2, 0.8], [1.0, 0.5], 0.5)})
    drawn(ax)
    assert ax.get_legend().get_texts()[0].get_text() == "full (AP 0.500)"


def test_ten_precision_recall_curves_are_told_apart(ax):
    precision_recall_curves(ax, {str(n): ([0.2, 0.8], [1.0, 0.5], 0.5) for n in range(10)})
    drawn(ax)
    for lines in (ax.lines, ax.get_legend().get_lines()):
        assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 10


def test_ten_froc_curves_are_told_apart(ax):
    curve = Froc(*(np.array(v) for v in ([0.1, 0.5], [0.9, 0.6], [3.0, 0.0], [0.5, 0.7])))
    froc_plot(ax, {str(n): curve for n in range(10)})
    lines = ax.get_legend().get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 10


def test_epoch_curves_average_the_runs_that_have_the_epoch(ax):
    runs = [[{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5}], [{"epoch": 1, "loss": 0.0}]]
    epoch_curves(ax, runs, "loss", "loss")
    drawn(ax)
    assert ax.lines[-1].get_xydata().tolist() == [[1.0, 0.5], [2.0, 0.5]]


def test_epoch_curves_without_a_value_say_so(ax):
    epoch_curves(ax, [[{"epoch": 1, "loss": float("nan")}]], "loss", "loss")
    drawn(ax)
    assert words(ax) == ["nothing to show"]


def test_froc_marks_the_best_f1(ax):
    curve = Froc(*(np.array(v) for v in ([0.1, 0.5], [0.9, 0.6], [3.0, 0.0], [0.5, 0.7])))
    froc_plot(ax, {"ours": curve})
    drawn(ax)
    assert ax.lines[-1].get_xydata().tolist() == [[0.0, 0.6]]


def test_froc_marks_the_operating_point_that_was_used_beside_the_best_f1(ax):
    curve = Froc(*(np.array(v) for v in ([0.1, 0.5], [0.9, 0.6], [3.0, 0.0], [0.5, 0.7])))
    froc_plot(ax, {"": curve}, (3.0, 0.9))
    drawn(ax)
    assert ax.lines[-1].get_xydata().tolist() == [[3.0, 0.9]]
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["highest lesion F1", "scored"]


def test_froc_labels_its_ticks_with_room_between_them(ax):
    many = np.array([430.0, 0.0])
    froc_plot(ax, {"": Froc(np.array([0.1, 0.5]), np.array([0.9, 0.6]), many, many)})
    drawn(ax)
    boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
    assert all(one.x1 + 4 < other.x0 for one, other in pairwise(boxes))


def test_froc_without_a_lesion_or_candidate_is_drawn_empty(ax):
    nothing = np.zeros(0)
    froc_plot(ax, {"empty": Froc(nothing, nothing, nothing, nothing)})
    froc_plot(ax, {"no lesion": Froc(*(np.array([v]) for v in (0.5, np.nan, 2.0, 0.0)))})
    drawn(ax)


def test_a_mean_of_one_subject_is_written_without_an_interval(ax):
    raincloud(ax, {"a": np.array([0.3, 0.5])}, "DSC", {"a": ["s", "s"]})
    drawn(ax)
    assert words(ax) == ["0.40"]


def test_bland_altman_writes_the_limits_that_are_defined(ax):
    agreement = SimpleNamespace(mean_difference=1.0, limits_low=float("nan"), limits_high=2.5)
    bland_altman(ax, [0, 0, 2], [0, 0, 4], agreement)
    drawn(ax)
    assert words(ax) == ["upper limit 2.5", "mean 1.0"]


def test_reliability_leaves_empty_bins_out(ax):
    shown = SimpleNamespace(
        mean_confidence=np.array([0.1, np.nan, 0.9]),
        share_true=np.array([0.0, np.nan, 0.8]),
        count=np.array([7, 0, 5]),
        ece=0.1,
        brier=float("nan"),
    )
    reliability(ax, shown)
    drawn(ax)
    assert words(ax) == ["7", "5", "ECE 0.100\nBrier n/a"]


def test_reliability_writes_no_count_on_an_axis(ax):
    one = np.array([0.0])
    reliability(ax, SimpleNamespace(
        mean_confidence=one, share_true=one, count=np.array([871]), ece=0.0, brier=0.0
    ))  # fmt: skip
    drawn(ax)
    box = ax.texts[0].get_window_extent()
    assert box.x0 > ax.bbox.x0
    assert box.y0 > ax.bbox.y0


def test_a_panel_rings_the_missed_and_boxes_the_false(ax):
    reference, predicted = np.zeros((30, 40), dtype=bool), np.zeros((30, 40), dtype=bool)
    reference[5:8, 5:8] = reference[20:22, 30:33] = True
    predicted[6:8, 5:8] = predicted[10:12, 20:22] = predicted[25:27, 5:7] = True
    panel(ax, np.random.default_rng(0).random((30, 40)), reference, predicted)
    drawn(ax)
    marks = [type(patch).__name__ for patch in ax.patches]
    assert marks == ["Circle", "Rectangle", "Rectangle"]
    assert tuple(ax.patches[0].center) == (31.0, 20.5)


def test_an_outline_runs_along_the_edges_of_the_pixels(ax):
    mask = np.zeros((4, 4), dtype=bool)
    mask[1, 2] = True
    panel(ax, np.zeros((4, 4)), reference=mask)
    drawn(ax)
    ends = {tuple(end) for edge in ax.collections[0].get_segments() for end in edge}
    assert ends == {(1.5, 0.5), (2.5, 0.5), (1.5, 1.5), (2.5, 1.5)}


def test_a_panel_of_an_image_alone_has_no_outline(ax):
    panel(ax, np.full((4, 4), np.nan))
    drawn(ax)
    assert not ax.collections
    assert not ax.patches


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"mmocnet\[plots\]"):
        new_figure(1, 1)

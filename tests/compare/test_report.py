from dataclasses import replace

import numpy as np
import pypdfium2
import pytest

from mmocnet.compare.comparison import Comparison, shared_brain
from mmocnet.compare.match import list_changes
from mmocnet.compare.outputs import sidecar
from mmocnet.compare.pages import render_html, render_pdf
from mmocnet.compare.report import cells, make_report
from mmocnet.compare.visit import CompareSettings, Visit
from mmocnet.lesion import Certainty
from mmocnet.locate.rigid import RigidAlignment
from mmocnet.volume import Volume

SHAPE = (40, 40, 10)
STAY = RigidAlignment(np.eye(4), 0.9, 1.0, 0.0, 0.0, True, "registered")
SIMULATED = {"dataset": "training; simulated", "operating_points": {"simulated": True}}


def _record(**more):
    """Provenance of a visit that was segmented."""
    record = {"Input": {}, "Settings": {}, "Model": {"Card": {}}}
    return {"Segmentation": record | more, "Input": {"SHA256": "0", "Name": "swi"}}


def _visit(lesions=(), **more):
    image = Volume(np.full(SHAPE, 100, np.float32), np.diag([2.0, 2.0, 3.0, 1.0]), "swi.nii.gz")
    labels = image.like(np.zeros(SHAPE, np.int32))
    return Visit(image, labels, tuple(lesions), np.ones(SHAPE, bool), **more)


def _compared(baseline, follow_up, warnings=()):
    settings = CompareSettings()
    changes = list_changes(baseline, follow_up, STAY, settings)
    return Comparison(baseline, follow_up, STAY, changes, warnings, settings)


def _row(lesion, definite, possible=0, **more):
    """Lesions far from each other."""
    sure = [Certainty.DEFINITE] * definite + [Certainty.POSSIBLE] * possible
    return [
        lesion(n, (8 * (n % 9) + 4, 8 * (n // 9) + 4, 15), certainty=one, **more)
        for n, one in enumerate(sure, 1)
    ]


def _concluded(comparison):
    return dict(make_report(comparison).conclusions)


@pytest.mark.parametrize(
    ("definite", "possible", "said"),
    [
        (4, 1, "5-9, moderate; by definite ones alone 1-4, mild"),
        (5, 1, "5-9, moderate"),
        (0, 1, "1-4, mild; by definite ones alone none, absent"),
    ],
)
def test_a_class_that_hangs_on_possible_ones_says_so(lesion, definite, possible, said):
    compared = _compared(_visit(), _visit(_row(lesion, definite, possible)))
    new = _concluded(compared)["New (ARIA-H class, grade)"]
    assert new.partition(", in the")[0] == said
    assert sidecar(compared)["Summary"]["NewDefinite"] == definite


def test_siderosis_and_oedema_are_said_not_to_be_assessed(lesion):
    visits = _visit(), _visit(_row(lesion, 2))
    told = "superficial siderosis and oedema (ARIA-E) are not assessed"
    assert _concluded(_compared(*visits))["New (ARIA-H class, grade)"].endswith(told)
    doubtful = _compared(*visits, ("follow-up: possible cortical superficial siderosis: ...",))
    new = _concluded(doubtful)["New (ARIA-H class, grade)"]
    assert new.endswith(f"{told}; for what may be siderosis see the warnings")


def _covering(share):
    return _record(Location={"Ok": True, "Coverage": share})


def test_classes_say_of_how_much_of_the_brain_they_are(lesion):
    first = _visit(_row(lesion, 5), provenance=_covering(0.42))
    second = _visit(_row(lesion, 5), provenance=_covering(0.6))
    said = _concluded(_compared(first, second))
    assert ", in the 42% of the brain that both scans cover;" in said["New (ARIA-H class, grade)"]
    assert said["Microbleeds at baseline"] == (
        "5, class over 4, in the 42% of the brain that the scan covers"
    )
    assert said["Microbleeds at follow-up"] == "5, in the 60% of the brain that the scan covers"


def test_a_brain_of_which_no_share_is_known_is_told_in_ml(lesion):
    # 16,000 voxels of 12 mm3.
    said = _concluded(_compared(_visit(), _visit()))
    assert "in the 192 ml of brain that both scans show" in said["New (ARIA-H class, grade)"]
    assert said["Microbleeds at follow-up"] == "0, in the 192 ml of brain that the scan shows"


def test_of_a_fragment_of_a_head_no_class_is_told(lesion):
    upper = np.full(SHAPE, 100, np.float32)
    upper[:, :, :4] = 0
    first, second = _visit(_row(lesion, 2)), _visit(_row(lesion, 3))
    second = replace(second, image=second.image.like(upper), brain=upper > 0)
    compared = _compared(first, second)
    said = _concluded(compared)
    new = said["New (ARIA-H class, grade)"]
    assert new.startswith("not known: both scans show 115 ml of brain alone; ")
    assert said["Microbleeds at follow-up"].startswith("3, ")
    # The first scan shows enough.
    assert said["Microbleeds at baseline"].startswith("2, class 1-4")
    summary = sidecar(compared)["Summary"]
    assert (summary["NewClass"], summary["Grade"]) == (None, None)
    assert "RadElement" not in summary


def test_what_both_scans_cover_is_less_than_either_covers():
    first = _visit(provenance=_covering(0.5))
    upper = np.full(SHAPE, 100, np.float32)
    upper[:, :, :4] = 0
    second = _visit(provenance=_covering(0.4))
    second = replace(second, image=second.image.like(upper), brain=upper > 0)
    share, seen_ml = shared_brain(_compared(first, second))
    assert share == pytest.approx(0.3)
    assert seen_ml == pytest.approx(0.6 * 192, rel=0.01)


def test_a_whole_brain_is_not_spoken_of(lesion):
    whole = _visit(provenance=_covering(0.98))
    said = _concluded(_compared(whole, whole))
    assert not [text for text in said.values() if "of the brain" in text]


def test_microbleeds_of_both_visits_are_counted(lesion):
    macro = lesion(9, (70, 70, 15), certainty=Certainty.MACROHAEMORRHAGE)
    first, second = _visit([*_row(lesion, 2, 3), macro]), _visit([*_row(lesion, 6, 1), macro])
    compared = _compared(first, second)
    said = _concluded(compared)
    baseline = said["Microbleeds at baseline"]
    assert baseline.startswith("5, class over 4; by definite ones alone 1-4, in the")
    assert said["Microbleeds at follow-up"].startswith("7, in the")
    summary = sidecar(compared)["Summary"]
    assert (summary["BaselineMicrobleeds"], summary["FollowUpMicrobleeds"]) == (5, 7)


@pytest.mark.parametrize(
    ("kind", "more", "begins", "ends"),
    [
        ({"ImageKind": "SWI"}, {"PhaseRead": True}, "SWI, field", "mm, with phase"),
        (
            {},
            {"PhaseRead": False, "Input": {"Phase": {}}},
            "taken as SWI, field",
            ", without phase",
        ),
        ({"ImageKind": "magnitude"}, {}, "magnitude, taken as SWI, field", ", without phase"),
    ],
)
def test_the_technique_says_swi_and_phase(kind, more, begins, ends):
    visit = _visit(acquisition=kind, provenance=_record(**more))
    said = _concluded(_compared(visit, visit))["Technique, baseline"]
    assert said.startswith(begins)
    assert said.endswith(ends)


def test_of_given_lesions_nothing_is_said_of_phase():
    assert "phase" not in _concluded(_compared(_visit(), _visit()))["Technique, baseline"]


def test_a_series_is_named_by_its_uid_and_its_images_by_their_numbers(lesion):
    seen = lesion(1, (20, 20, 12), centre_voxel=(10, 10, 4))
    from_the_head = tuple(range(10, 0, -1))
    first = _visit([seen], numbers=from_the_head)
    first = replace(first, provenance={"Input": {"SHA256": "0", "SeriesInstanceUID": "1.2.3"}})
    report = make_report(_compared(first, _visit()))
    assert dict(report.conclusions)["Series, baseline"] == "Series Instance UID 1.2.3"
    assert "Series, follow-up" not in dict(report.conclusions)
    assert "image 6 (slice 5 of 10, counted from the feet); follow-up" in report.captions[1]
    assert "not seen, slice 5 of 10; centre" in report.captions[1]


def test_the_ink_of_each_state_is_explained(lesion):
    report = make_report(_compared(_visit(_row(lesion, 1)), _visit()))
    page = render_html(report)
    legend = page[: page.index("Outlines are orange, whatever became of the lesion.")]
    for ink, state in (
        ("definite", "new"),
        ("macrohaemorrhage", "grown"),
        ("possible", "stable"),
        ("", "not seen"),
        ("", "not covered"),
    ):
        assert f'<span class="key {ink}">{state}</span>' in legend
    legend = "new, grown, stable, not seen, not covered. Outlines are orange"
    assert legend in _printed(render_pdf(report))


@pytest.mark.parametrize("card", [SIMULATED, {}])
def test_training_on_simulated_scans_alone_is_said_at_the_foot(card):
    visit = _visit(provenance=_record(Model={"Card": card}))
    report = make_report(_compared(_visit(), visit))
    for page in (render_html(report), _printed(render_pdf(report))):
        assert ("trained and measured on simulated scans only" in page) == bool(card)


def test_a_confidence_below_1_is_not_shown_as_1(lesion):
    (change,) = _compared(_visit(), _visit(_row(lesion, 1, confidence=0.998))).changes
    assert "n/a / >0.99" in cells(change)


def _printed(data):
    with pypdfium2.PdfDocument(data) as document:
        words = " ".join(page.get_textpage().get_text_bounded() for page in document)
    return " ".join(words.split())

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pypdfium2
import pytest

from mmocnet.io.report import LIMITS, REVIEWED_LIMITS
from mmocnet.review.exports import export
from mmocnet.review.reading import Reading


@pytest.fixture
def read(kit: SimpleNamespace) -> Callable[..., Reading]:
    def make(made: Any, *more: tuple[str, dict]) -> Reading:
        return made.reading(
            kit.verdict("m2", "reject", reason="vein"),
            kit.add(made.spot("missed")),
            *more,
        )

    return make


def page(made: Any, reading: Reading, out: Path) -> str:
    text = export("html", made.study, reading, "Ann <b>", out).read_text(encoding="utf-8")
    return re.sub(r"data:image/png;base64,[^\"]+", "", text)


def printed(made: Any, reading: Reading, out: Path) -> str:
    document = pypdfium2.PdfDocument(export("pdf", made.study, reading, "Ann <b>", out))
    text = "\n".join(one.get_textpage().get_text_bounded() for one in document)
    document.close()
    return " ".join(text.split())


def test_the_page_says_who_read_it_and_counts_the_readers_microbleeds(
    made: Any, read: Callable[..., Reading], kit: SimpleNamespace, tmp_path: Path
) -> None:
    text = page(made, read(made, kit.verdict("m1", "accept")), tmp_path)
    assert (
        "Read by Ann &lt;b&gt; on 2026-05-06; 1 accepted, 1 rejected, 1 added, 0 not judged."
        in text
    )
    assert "2 microbleeds: 2 definite, 0 possible." in text
    assert "Research use only - not a medical device." in text
    assert "brain one.nii.gz" in text
    assert "<b>Ann" not in text
    assert "Ann <b>" not in text


def test_the_page_tells_rejected_and_open_findings_and_does_not_count_them(
    made: Any, read: Callable[..., Reading], tmp_path: Path
) -> None:
    text = page(made, read(made), tmp_path)
    assert "1 microbleed: 1 definite, 0 possible." in text
    assert "What was not judged is not counted." in text
    others = text[text.index("Not counted") :]
    assert "rejected: vein" in others
    assert "<td>CMB 1</td><td>not judged</td>" in others
    # The machine itself did not take the other two for lesions.
    assert "2 further candidates of the machine below its threshold" in text
    assert "CMB 3" not in text


def test_a_finding_in_a_caption_has_its_number_in_the_mask(
    made: Any, read: Callable[..., Reading], kit: SimpleNamespace, tmp_path: Path
) -> None:
    steps = read(made, kit.verdict("m1", "reject"), kit.verdict("m2", "accept"))
    text = page(made, steps, tmp_path)
    assert "<b>CMB 2 (label 1)</b>" in text
    assert "<th>Label</th>" in text
    assert "CMB 2 (label 1)" in printed(made, steps, tmp_path)


def test_the_pages_limits_are_those_of_what_a_reader_has_seen(
    made: Any, read: Callable[..., Reading], tmp_path: Path
) -> None:
    text = page(made, read(made), tmp_path)
    assert REVIEWED_LIMITS in text
    assert LIMITS not in text
    assert "Machine's confidence" in text
    said = printed(made, read(made), tmp_path)
    assert "not verified" in said
    assert "not read by a radiologist" not in said


def test_the_printed_report_has_the_same_words(
    made: Any, read: Callable[..., Reading], kit: SimpleNamespace, tmp_path: Path
) -> None:
    text = printed(made, read(made, kit.verdict("m1", "accept")), tmp_path)
    assert "Read by Ann <b> on 2026-05-06; 1 accepted, 1 rejected, 1 added, 0 not judged." in text
    assert "rejected: vein" in text
    assert "not a medical device" in text


def test_a_blind_reading_says_how_many_were_found_without_the_machine(
    made: Any, kit: SimpleNamespace, tmp_path: Path
) -> None:
    steps = [("blind", {"on": True}), kit.add(made.spot("m1")), ("reveal", {})]
    text = page(made, made.reading(*steps, kit.verdict("m2", "accept")), tmp_path)
    assert "1 of the microbleeds were marked so" in text
    hidden = page(made, made.reading(*steps[:2]), tmp_path)
    assert "have not been shown yet" in hidden
    assert "0 accepted, 0 rejected, 1 added, 0 not judged" in hidden


@pytest.mark.parametrize("kind", ["picture", "dicom"])
def test_pictures_and_dicom_have_reports_too(
    make_study: Callable[..., Any],
    read: Callable[..., Reading],
    tmp_path: Path,
    kind: str,
) -> None:
    made = make_study(kind, "slice.png" if kind == "picture" else "series")
    assert "Read by" in page(made, read(made), tmp_path)
    assert "Read by" in printed(made, read(made), tmp_path)


def test_a_report_before_any_verdict_counts_nothing(made: Any, tmp_path: Path) -> None:
    text = page(made, made.reading(), tmp_path)
    assert "No microbleed accepted or added." in text
    assert "Not read yet by Ann &lt;b&gt;; 0 accepted, 0 rejected, 0 added, 2 not judged." in text
    assert "the reading is not finished" in text
    assert "No microbleed accepted or added." in printed(made, made.reading(), tmp_path)


def test_a_finished_reading_is_not_preliminary(
    made: Any, read: Callable[..., Reading], kit: SimpleNamespace, tmp_path: Path
) -> None:
    done = ("complete", {"complete": True})
    assert "Preliminary" not in page(made, read(made, kit.verdict("m1", "accept"), done), tmp_path)
    assert "Preliminary" in page(made, read(made, done), tmp_path)


def test_a_reading_marked_complete_says_what_was_not_judged(
    made: Any, read: Callable[..., Reading], tmp_path: Path
) -> None:
    done = read(made, ("complete", {"complete": True}))
    left = done.counts.not_judged
    assert left == 1
    text = page(made, done, tmp_path)
    assert "marked complete by Ann &lt;b&gt;; 1 finding not judged: classes may change" in text
    assert "the reading is not finished" not in text

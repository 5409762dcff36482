"""What is exported is what was read, on the scan's own grid."""

import csv
import gzip
import json
import zipfile

import nibabel as nib
import numpy as np
import pypdfium2


def export(reader, kind):
    reader.find("dialog-export").wait_for(state="detached")
    reader.key("o")
    with reader.page.expect_download(timeout=60_000) as download:
        reader.find(f"export-{kind}").click()
    path = download.value.path()
    name = download.value.suggested_filename
    reader.find(f"export-link-{kind}").wait_for()
    reader.key("Escape")
    return path, name


def test_the_mask_is_the_edits_on_the_inputs_grid(reader, scan, tmp_path):
    reader.key("a", "1", "d")
    for _ in range(8):
        reader.key("z")
    cross = reader.state()["cross"]
    reader.key("e")
    # A stroke away from everything is a lesion of the reader's own.
    x, y = reader.place([cross[0] + 16, cross[1] + 4, cross[2]])
    reader.page.mouse.move(x, y)
    reader.page.mouse.down()
    reader.page.mouse.move(x + 8, y + 8, steps=4)
    reader.page.mouse.up()
    reader.until(lambda: reader.saved()["revision"] == 4)
    path, name = export(reader, "nifti")
    assert name.endswith("_desc-reviewed_dseg.nii.gz")
    found = nib.Nifti1Image.from_bytes(gzip.decompress(path.read_bytes()))
    image = nib.load(scan)
    assert found.shape == image.shape
    np.testing.assert_allclose(found.affine, image.affine, atol=1e-5)
    labels = np.asarray(found.dataobj)
    kept = [f["voxels"] for f in reader.state()["findings"] if f["verdict"] == "accept"]
    expected = np.unique(np.concatenate([np.array(one) for one in kept]))
    np.testing.assert_array_equal(np.flatnonzero(labels), expected)
    assert len(np.unique(labels)) - 1 == len(kept)


def test_the_table_keeps_machine_and_reader_apart(reader):
    reader.key("a", "2")
    reader.saved()
    path, _ = export(reader, "csv")
    rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    verdicts = [row["verdict"] for row in rows]
    assert verdicts[:2] == ["accept", "reject"]
    assert {row["origin"] for row in rows} == {"machine"}
    assert len(rows) >= 6


def test_the_report_and_the_audit_name_the_reader(reader, request):
    reader.key("a")
    reader.saved()
    path, _ = export(reader, "html")
    words = path.read_text(encoding="utf-8")
    assert "not a medical device" in words
    assert request.node.name[-40:] in words
    path, _ = export(reader, "audit")
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [event["kind"] for event in events if "kind" in event] == ["verdict"]


def test_the_report_fits_a_narrow_window(reader, browser):
    reader.key("a")
    reader.saved()
    path, _ = export(reader, "html")
    page = browser.new_page(viewport={"width": 500, "height": 800})
    page.set_content(path.read_text(encoding="utf-8"))
    assert page.locator(".lesion").count()
    assert page.evaluate("document.documentElement.scrollWidth") <= 500
    page.close()


def test_pdf_tsv_bids_and_training_are_made_in_the_browser_too(reader):
    shown = reader.state()["shown"]
    reader.key("a")
    reader.key(*"2" * (len(shown) - 1))
    reader.key("o")
    reader.find("export-training").click()
    reader.find("export-state-training").filter(has_text="mark the reading complete").wait_for()
    reader.key("Escape", "g")
    reader.until(lambda: reader.saved()["complete"])
    path, name = export(reader, "pdf")
    with pypdfium2.PdfDocument(path) as document:
        words = " ".join(page.get_textpage().get_text_bounded() for page in document)
    assert name.endswith("_desc-reviewed_report.pdf")
    assert "not a medical device" in words
    assert f"1 accepted, {len(shown) - 1} rejected" in " ".join(words.split())
    path, name = export(reader, "tsv")
    assert name.endswith("_desc-reviewed_dseg.tsv")
    rows = list(csv.DictReader(path.read_text().splitlines(), delimiter="\t"))
    assert [row["verdict"] for row in rows[:2]] == ["accept", "reject"]
    for kind, dataset in (("bids", ""), ("training", "derivatives/reviewed/")):
        path, name = export(reader, kind)
        assert name.endswith(f"_{kind}.zip")
        with zipfile.ZipFile(path) as made:
            assert made.testzip() is None
            names = made.namelist()
            (table,) = [one for one in names if one.endswith("_desc-reviewed_dseg.tsv")]
            assert table.startswith(f"{dataset}sub-")
            verdicts = [line.split("\t") for line in made.read(table).decode().splitlines()[1:]]
            assert len(verdicts) == len(shown)
        assert any(one.startswith("sub-") and one.endswith("w.nii.gz") for one in names) == (
            kind == "training"
        )


def test_the_menu_follows_the_reading_while_it_is_open(reader):
    held = []

    def hold(route):
        held.append(route)

    reader.page.route("**/events", hold)
    reader.key("g")
    reader.find("confirm-yes").click()
    reader.key("o")
    warning = reader.page.get_by_text("not marked complete")
    warning.wait_for()
    reader.until(lambda: held)
    held[0].continue_()
    warning.wait_for(state="hidden")
    assert reader.state()["complete"]


def test_dicom_is_offered_only_for_dicom(reader):
    reader.key("o")
    assert reader.find("export-nifti").is_visible()
    assert reader.find("export-dicom").count() == 0
    reader.find("audit").click()
    reader.find("dialog-audit").wait_for()
    assert reader.find("audit-rows").locator("tr").count() == 0

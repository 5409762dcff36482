import numpy as np
import pytest

from mmocnet.compare.comparison import Comparison
from mmocnet.compare.outputs import CompareFiles, check_inputs, sidecar
from mmocnet.compare.visit import CompareSettings, Visit
from mmocnet.errors import InputError
from mmocnet.io.dataset import write_json
from mmocnet.volume import Volume


def _visit(scan, outlines=None):
    image = Volume(np.ones((8, 8, 8), np.float32), np.eye(4), "swi.nii.gz")
    provenance = {"Input": {"Name": "swi.nii.gz", "SHA256": scan}}
    if outlines is not None:
        provenance["Outlines"] = {"Name": "cmb.nii.gz", "SHA256": outlines}
    brain = np.ones(image.shape, bool)
    return Visit(image, image.like(np.zeros(image.shape, int)), (), brain, provenance=provenance)


@pytest.fixture
def files(tmp_path, moved):
    """Those of a comparison of scans a and b, the second outlined by a reader."""
    found = CompareFiles(tmp_path, "swi")
    visits = _visit("a"), _visit("b", "by a reader")
    write_json(
        found.summary, sidecar(Comparison(*visits, moved, (), (), CompareSettings(tolerance_mm=1)))
    )
    return found


def test_the_same_inputs_may_be_compared_again(files):
    check_inputs(files, _visit("a"), _visit("b", "by a reader"))


@pytest.mark.parametrize(
    ("baseline", "follow_up"),
    [
        (_visit("c"), _visit("b", "by a reader")),
        (_visit("a"), _visit("c", "by a reader")),
        (_visit("a"), _visit("b", "by another")),
        (_visit("a"), _visit("b")),
    ],
)
def test_the_comparison_of_other_inputs_is_not_replaced(files, baseline, follow_up):
    with pytest.raises(InputError, match=r"comparison of other inputs named swi.*--overwrite"):
        check_inputs(files, baseline, follow_up)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"Provenance": {"Baseline": []}}'])
def test_a_file_that_is_no_comparison_is_named(files, text):
    files.summary.write_text(text)
    with pytest.raises(InputError, match=r"written by mmocnet in swi_compare\.json"):
        check_inputs(files, _visit("a"), _visit("b"))

import json
from pathlib import Path

import pytest

from mmocnet.errors import InputError
from mmocnet.predict.outputs import output_files
from mmocnet.predict.provenance import is_done


@pytest.fixture
def done(tmp_path):
    """Return the files of a scan that was segmented exactly."""
    files = output_files(Path("scan.nii.gz"), tmp_path)
    files.summary.parent.mkdir(parents=True, exist_ok=True)
    files.summary.write_text(
        json.dumps({"Provenance": {"Engine": "torch"}, "Summary": {"Files": []}}), encoding="utf-8"
    )
    return files


def test_results_of_an_exact_engine_stand_for_those_of_the_other(done):
    assert is_done(done, {"Engine": "openvino"})


def test_results_without_the_words_of_the_technique_stand_for_those_with_them(done):
    words = {"Manufacturer": "Siemens", "ScanningSequence": "GR"}
    assert is_done(done, {"Input": {"Acquisition": words}})
    with pytest.raises(InputError, match="another input"):
        is_done(done, {"Input": {"Acquisition": words | {"EchoTime": 0.02}}})


def test_results_in_8_bits_are_others(done):
    with pytest.raises(InputError, match="another engine"):
        is_done(done, {"Engine": "openvino-int8"})

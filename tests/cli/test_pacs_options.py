import pytest

from mmocnet.cli import main

NOWHERE = "http://127.0.0.1:9/dicom-web"


@pytest.mark.parametrize("value", ["nan", "0", "1.5", "-0.5"])
def test_a_threshold_that_is_none_is_refused_before_anybody_is_called(tmp_path, capsys, value):
    words = ["pacs", "--url", NOWHERE, "--state", str(tmp_path / "state"), "--once"]
    assert main([*words, "--threshold", value]) == 2
    assert capsys.readouterr().err == (
        f"mmocnet pacs: threshold must be above 0 and at most 1, got {value}\n"
    )
    assert not (tmp_path / "state").exists()

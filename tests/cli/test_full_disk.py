import errno
from pathlib import Path

import pytest

from mmocnet.cli import main
from mmocnet.cli.segment import Segment


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_in_a_sentence(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: Segment) -> None:
        raise OSError(number, "text", "/a/path/of/somebody")

    monkeypatch.setattr(Segment, "run", run)
    assert main(["segment", "a.nii.gz", "-o", "out"]) == 2
    told = capsys.readouterr().err
    assert "the disk is full" in told
    assert "somebody" not in told


def test_other_errors_of_the_system_are_no_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: Segment) -> None:
        raise OSError(errno.EIO, "text", str(Path("a")))

    monkeypatch.setattr(Segment, "run", run)
    with pytest.raises(OSError, match="text"):
        main(["segment", "a.nii.gz", "-o", "out"])

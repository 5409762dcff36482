import os
import subprocess
import sys
import tempfile

import pytest

CODE = """
import os, sys
from pathlib import Path
from mmocnet.errors import InputError
from mmocnet.io.atomic import check_folder
from mmocnet.io.read import read_scan
from mmocnet.io.together import hidden_folder
os.setuid(65534)
closed = Path(sys.argv[1])
def together(path):
    with hidden_folder(path.parent, "a"):
        pass
for call in (check_folder, read_scan, together):
    try:
        call(closed / "in" / "scan.nii.gz")
    except InputError as error:
        print(str(error).partition(":")[0])
"""


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="needs root, to become somebody else"
)
def test_a_folder_that_may_not_be_looked_into_is_told_in_a_sentence():
    # Its owner alone may look into a temporary folder.
    with tempfile.TemporaryDirectory() as closed:
        ran = subprocess.run(
            [sys.executable, "-c", CODE, closed], capture_output=True, text=True, check=False
        )
    assert ran.stderr == ""
    assert len(ran.stdout.splitlines()) == 3

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FEW = """
import resource, sys
from pathlib import Path
from mmocnet.train.mapped import mapped
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
held = [mapped(Path(sys.argv[1])) for _ in range(200)]
print(sum(int(array[0]) for array in held))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_more_arrays_than_files_may_be_open_at_first(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.ones(4))
    ran = subprocess.run(
        [sys.executable, "-c", FEW, str(tmp_path / "one.npy")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "200"

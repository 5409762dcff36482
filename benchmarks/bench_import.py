"""How long the program takes to start: wall time of fresh processes."""

import subprocess
import sys
import time

RUNS = 5
COMMANDS = {
    "import mmocnet": ["-c", "import mmocnet"],
    "mmocnet --help": ["-m", "mmocnet", "--help"],
    "mmocnet segment --help": ["-m", "mmocnet", "segment", "--help"],
    "python alone": ["-c", "pass"],
}


def _median_s(words: list[str]) -> float:
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return sorted(times)[RUNS // 2]


def measure() -> list[tuple[str, float, str]]:
    return [(name, _median_s(words), "s") for name, words in COMMANDS.items()]

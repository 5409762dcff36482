import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from rich.console import Console

from mmocnet.evaluate.matching import pairing

DEMO = Path(__file__).parents[2] / "scripts" / "demo.py"


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(index: int, diameter: str) -> dict[str, str]:
    place = {"x_mm": "1", "y_mm": "2", "z_mm": "3", "confidence": "0.9"}
    sizes = {"diameter_eq_mm": diameter, "apparent_diameter_mm": diameter}
    return {"index": str(index), "name": f"CMB {index}"} | place | sizes


def test_the_demo_names_what_was_found_missed_and_false(demo: ModuleType) -> None:
    reference, predicted = np.zeros((9, 9, 9), int), np.zeros((9, 9, 9), int)
    reference[1:3, 1, 1], reference[7, 7, 7] = 1, 2
    predicted[2:4, 1, 1], predicted[5, 5, 5] = 2, 1
    pair = pairing(reference, predicted, (1.0, 1.0, 1.0))
    console = Console(width=100)
    with console.capture() as capture:
        console.print(
            demo.lesion_table(
                [row(1, "1.2"), row(2, "1.6")], [row(1, "1.5"), row(2, "1.3"), row(0, "4")], pair
            )
        )
    assert capture.get().count("equiv. mm") == 2
    lines = [line.split() for line in capture.get().splitlines() if "1," in line]
    words = [[word for word in line if word != "│"] for line in lines]
    assert words == [
        ["CMB", "1", "1,", "2,", "3", "1.2", "0.90", "false"],
        ["CMB", "2", "1,", "2,", "3", "1.6", "0.90", "CMB", "1", "1.5", "0.50"],
        ["missed", "1,", "2,", "3", "CMB", "2", "1.3"],
    ]

"""Run the benchmarks and print a table.

Usage: python benchmarks/run.py [import] [simulate] [segment] [engine] [evaluate] [reading_room]
       [cohort]
"""

import importlib
import platform
import sys

from rich.console import Console
from rich.table import Table

from mmocnet.errors import MmocnetError

BENCHMARKS = ("import", "simulate", "segment", "engine", "evaluate", "reading_room", "cohort")


def main(names: list[str]) -> int:
    console = Console()
    table = Table("benchmark", "figure", "unit", title=f"{platform.machine()}, {platform.system()}")
    for name in names or BENCHMARKS:
        if name not in BENCHMARKS:
            console.print(f"expected one of {', '.join(BENCHMARKS)}, got {name}", markup=False)
            return 2
        try:
            rows = importlib.import_module(f"bench_{name}").measure()
        except MmocnetError as error:
            rows = [(f"{name}: {error}", float("nan"), "")]
        for what, figure, unit in rows:
            table.add_row(what, f"{figure:.2f}", unit)
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

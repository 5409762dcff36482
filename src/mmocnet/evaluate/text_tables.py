"""Tables as text: Markdown, LaTeX and CSV."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmocnet.io.dataset import write_text

NOTICE = "Research use only - not a medical device."
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
} | {one: "\\" + one for one in "&%$#_{}"}


@dataclass(frozen=True)
class Section:
    """A table with its heading.

    Attributes:
        title: Heading.
        text: What stands above the table; empty for nothing.
        columns: Their names.
        rows: Their cells.
        note: What stands below the table; empty for nothing.
    """

    title: str
    text: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    note: str = ""


def cell(value: object, digits: int = 3) -> str:
    """Return a value as a table shows it; NaN and None are n/a.

    >>> cell(0.5), cell(float("nan")), cell(3)
    ('0.500', 'n/a', '3')
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "n/a"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def significant(value: float, digits: int = 3) -> str:
    """Return a value with so many decimals, and more where fewer digits would be significant.

    >>> significant(0.5), significant(0.00012345), significant(0.0), significant(float("nan"))
    ('0.500', '0.000123', '0.000', 'n/a')
    """
    if value == 0 or not math.isfinite(value):
        return cell(float(value), digits)
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return cell(float(value), max(digits, decimals))


def counted(number: int, noun: str) -> str:
    """Return a number of things in words.

    >>> counted(1, "scan"), counted(2, "scan")
    ('1 scan', '2 scans')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table.

    >>> print(markdown_table(["a", "b"], [[1, 0.25]]))
    | a | b |
    |---|---|
    | 1 | 0.250 |
    """

    def line(row: Iterable[object]) -> str:
        return "| " + " | ".join(cell(value).replace("|", "\\|") for value in row) + " |"

    return "\n".join([line(columns), "|" + "---|" * len(columns), *map(line, rows)])


def latex_text(text: str) -> str:
    r"""Return text as LaTeX prints it.

    >>> latex_text("95 % of a_b")
    '95 \\% of a\\_b'
    """
    return "".join(_LATEX.get(one, one) for one in text)


def latex_table(section: Section) -> str:
    """Return a LaTeX table; it needs the package booktabs."""
    rows = [" & ".join(latex_text(cell(one)) for one in row) + r" \\" for row in section.rows]
    caption = " ".join(part for part in (section.title + ".", section.text, section.note) if part)
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{latex_text(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(section.columns) - 1)}}}",
            r"\toprule",
            " & ".join(map(latex_text, section.columns)) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def markdown_section(section: Section) -> str:
    """Return a heading, its text and its table as Markdown."""
    table = markdown_table(section.columns, section.rows) if section.rows else ""
    parts = (f"## {section.title}", section.text, table, section.note)
    return "\n\n".join(part for part in parts if part)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a CSV; NaN and None become n/a."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([cell(row.get(column), 6) for column in columns])
    write_text(path, text.getvalue())

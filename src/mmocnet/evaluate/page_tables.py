"""The sections of the scores as HTML."""

import re
from html import escape

from mmocnet.evaluate.text_tables import Section, cell

# An interval stands back behind its value.
_INTERVAL = re.compile(r" (\([^()]* to [^()]*\))$")


def html_cell(value: object) -> str:
    """Return a value as HTML; NaN and None are n/a.

    >>> html_cell("0.500 (0.250 to 0.750)"), html_cell("<x>")
    ('0.500 <small>(0.250 to 0.750)</small>', '&lt;x&gt;')
    """
    return _INTERVAL.sub(r" <small>\1</small>", escape(cell(value)))


def html_section(one: Section) -> str:
    """Return a section: heading, text, table and note."""
    text = f"<p>{escape(one.text)}</p>" if one.text else ""
    note = f'<p class="small">{escape(one.note)}</p>' if one.note else ""
    return html_block(one.title, text, _table(one), note)


def html_block(heading: str, *parts: str) -> str:
    """Return HTML parts under a heading, or nothing where all are empty."""
    body = "\n".join(part for part in parts if part)
    return f"<section><h2>{escape(heading)}</h2>\n{body}\n</section>" if body else ""


def _table(one: Section) -> str:
    if not one.rows:
        return ""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in one.columns)
    body = "".join(
        f'<tr><th scope="row">{html_cell(row[0])}</th>'
        + "".join(f"<td>{html_cell(value)}</td>" for value in row[1:])
        + "</tr>"
        for row in one.rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )

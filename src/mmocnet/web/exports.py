"""Exports as jobs: queued with the reader's last event, so that later edits are not in them."""

from mmocnet.errors import InputError
from mmocnet.web.problems import OTHER_RESULT, NotFoundError, StaleError
from mmocnet.web.queue import add_job
from mmocnet.web.readers import check_reader
from mmocnet.web.requests import ExportRequest
from mmocnet.web.store import Row, Store

KINDS = ("nifti", "csv", "tsv", "html", "pdf", "bids", "training", "dicom", "audit")


def queue_export(store: Store, study: str, asked: ExportRequest) -> str:
    """Queue an export of a reader's reading as it is now; return the job's id.

    Raises:
        NotFoundError: If there is no such study or reader, or no result.
        StaleError: If the study has another result by now than the page shows.
        InputError: If it cannot be exported so.
    """
    kind, reader = asked.kind, asked.reader
    if kind not in KINDS:
        raise InputError(f"expected one of {', '.join(KINDS)} as kind of export")
    check_reader(store, reader)
    with store.transaction() as base:
        row = base.execute("SELECT source, result FROM studies WHERE id = ?", (study,)).fetchone()
        if row is None:
            raise NotFoundError("there is no such study")
        if row["result"] is None:
            raise NotFoundError("the study has no result to be exported yet")
        if row["result"] != asked.result:
            raise StaleError(OTHER_RESULT)
        if kind == "dicom" and row["source"] != "dicom":
            raise InputError("only a study that came as DICOM can go back as DICOM")
        last = base.execute(
            "SELECT COALESCE(MAX(number), 0) FROM events WHERE study = ? AND result = ? "
            "AND reader = ?",
            (study, row["result"], reader),
        ).fetchone()[0]
        settings = {"kind": kind, "reader": reader, "result": row["result"], "last": last}
        return add_job(base, "export", study, settings)


def read_export(store: Store, job: str) -> Row:
    """Return an export's row.

    Raises:
        NotFoundError: If there is none.
    """
    row = store.row("SELECT * FROM jobs WHERE id = ? AND kind = 'export'", (job,))
    if row is None:
        raise NotFoundError("there is no such export")
    return row

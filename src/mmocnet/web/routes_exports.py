"""Routes of exports: made by a job, then fetched."""

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

from mmocnet.web.answers import json_response
from mmocnet.web.context import Context
from mmocnet.web.exports import queue_export, read_export
from mmocnet.web.problems import NotFoundError
from mmocnet.web.requests import ExportRequest

MEDIA = {
    ".csv": "text/csv; charset=utf-8",
    ".tsv": "text/tab-separated-values; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".zip": "application/zip",
    ".jsonl": "application/jsonl",
}


def routes(context: Context) -> APIRouter:
    """Return the routes."""
    router = APIRouter()

    @router.post("/studies/{study}/export")
    def export(study: str, request: ExportRequest) -> Response:
        job = queue_export(context.store, study, request)
        context.supervisor.wake()
        return json_response({"job": job})

    @router.get("/exports/{job}")
    def state(job: str) -> Response:
        row = read_export(context.store, job)
        keys = ("state", "reason", "name", "bytes")
        return json_response({key: row[key] for key in keys})

    @router.get("/exports/{job}/file")
    def file(job: str) -> Response:
        row = read_export(context.store, job)
        path = context.room.exports / job / "file"
        if row["state"] != "done" or not path.is_file():
            raise NotFoundError("the export is not there")
        name = row["name"]
        kind = MEDIA.get(Path(name).suffix, "application/octet-stream")
        # Always to be saved, never to be shown: a report is no page of this server.
        return FileResponse(path, media_type=kind, filename=name)

    return router

"""Routes of the work list: what there is, runs, and the images to be shown."""

import shutil
from pathlib import Path
from typing import Literal

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

from mmocnet.web.answers import json_response
from mmocnet.web.blind import as_told
from mmocnet.web.context import Context
from mmocnet.web.opened import open_study
from mmocnet.web.problems import NotFoundError
from mmocnet.web.requests import RunRequest
from mmocnet.web.studies import (
    cancel_study,
    cancel_waiting,
    delete_study,
    folder_state,
    list_studies,
    queue_studies,
    read_study,
)


def routes(context: Context) -> APIRouter:
    """Return the routes."""
    router = APIRouter()

    @router.get("/studies")
    def studies(reader: str | None = None) -> Response:
        listed = as_told(context.store, list_studies(context.store), reader)
        return json_response({"studies": listed, "folder": folder_state(context.store)})

    @router.post("/studies/run")
    def run(request: RunRequest) -> Response:
        settings = context.run_settings(request.model, request.point, request.threshold)
        settings |= request.model_dump(include={"spacing_mm", "series", "run"})
        ids = queue_studies(context.store, request.ids, settings)
        context.supervisor.wake()
        return json_response({"studies": list_studies(context.store, ids)})

    @router.get("/studies/{study}")
    def one(study: str, reader: str | None = None) -> Response:
        opened = open_study(context, study)
        return json_response(as_told(context.store, [opened], reader)[0])

    @router.post("/studies/cancel")
    def cancel_all() -> Response:
        ids = cancel_waiting(context.store)
        return json_response({"studies": list_studies(context.store, ids)})

    @router.post("/studies/{study}/cancel")
    def cancel(study: str) -> Response:
        cancel_study(context.store, study)
        return json_response(list_studies(context.store, [study])[0])

    @router.delete("/studies/{study}", status_code=204)
    def delete(study: str) -> Response:
        _delete(context, study)
        return Response(status_code=204)

    @router.api_route("/studies/{study}/{kind}.nii", methods=["GET", "HEAD"])
    def view(study: str, kind: Literal["image", "phase"]) -> Response:
        return _view(context, study, f"{kind}.nii")

    return router


def _delete(context: Context, study: str) -> None:
    for export in delete_study(context.store, study):
        shutil.rmtree(context.room.exports / export, ignore_errors=True)
    context.readings.forget(study)
    shutil.rmtree(context.room.study(study), ignore_errors=True)
    context.store.empty_log()


def _view(context: Context, study: str, name: str) -> Response:
    read_study(context.store, study)
    path: Path = context.room.view(study) / name
    if not path.is_file():
        raise NotFoundError("the study has no such image")
    headers = {"Cache-Control": "no-store"}
    return FileResponse(path, media_type="application/octet-stream", headers=headers)

"""Routes of uploads: files come in, are kept under names of ours, and are queued."""

import os
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from mmocnet.config import OperatingPoint
from mmocnet.errors import InputError
from mmocnet.web.answers import json_response
from mmocnet.web.context import Context
from mmocnet.web.drops import extra_name, keep_files, studies_in
from mmocnet.web.problems import BusyError, NotFoundError
from mmocnet.web.queue import OPEN
from mmocnet.web.studies import add_study, list_studies, queue_study, read_study
from mmocnet.web.uploads import Upload, receive_upload


class UploadFields(BaseModel):
    """What is given with an upload."""

    model_config = ConfigDict(extra="ignore")

    spacing_mm: Annotated[float, Field(ge=0.02, le=20)] | None = None
    model: str | None = None
    point: OperatingPoint | None = None
    threshold: Annotated[float, Field(ge=0.05, le=1)] | None = None
    run: bool = True


def routes(context: Context) -> APIRouter:
    """Return the routes."""
    router = APIRouter()

    @router.post("/studies")
    async def upload(request: Request) -> Response:
        received = await _receive(request, context)
        return await run_in_threadpool(_keep, context, received, _upload_studies)

    @router.post("/studies/{study}/files")
    async def files(study: str, request: Request) -> Response:
        read_study(context.store, study)
        received = await _receive(request, context)
        return await run_in_threadpool(
            _keep, context, received, lambda *given: _add_files(study, *given)
        )

    return router


async def _receive(request: Request, context: Context) -> Upload:
    limit = round(context.upload_mb * 1e6)
    kind = request.headers.get("content-type", "")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        # Said before anything is sent, where the browser waits for it.
        limit = -1
    return await receive_upload(request.stream(), kind, context.room.incoming, limit)


def _keep(context: Context, upload: Upload, use: Callable[[Context, Upload], Response]) -> Response:
    try:
        return use(context, upload)
    finally:
        upload.discard()


def _upload_studies(context: Context, upload: Upload) -> Response:
    fields = _fields(upload)
    settings = context.run_settings(fields.model, fields.point, fields.threshold)
    drops = studies_in(upload, fields.spacing_mm)
    for drop in drops:
        keep_files(context.room, drop)
    with context.store.transaction() as base:
        for drop in drops:
            add_study(base, drop.study)
            queue_study(base, drop.study.id, settings | {"run": fields.run})
    context.supervisor.wake()
    ids = [drop.study.id for drop in drops]
    return json_response({"studies": list_studies(context.store, ids)}, 201)


def _fields(upload: Upload) -> UploadFields:
    given: dict[str, Any] = {key: value for key, value in upload.fields.items() if value != ""}
    try:
        return UploadFields(**given)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{first['loc'][0]}: {first['msg']}") from error


def _add_files(study: str, context: Context, upload: Upload) -> Response:
    """Add phase and mask; they are looked at when the study is run next."""
    found = {one.role: one for one in upload.files if one.role in ("phase", "mask")}
    if not found:
        raise InputError("expected a file as phase or as mask, got none")
    names = {role: extra_name(one) for role, one in found.items()}
    folder = context.room.input(study)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with context.store.transaction() as base:
        row = base.execute("SELECT state FROM studies WHERE id = ?", (study,)).fetchone()
        if row is None:
            raise NotFoundError("there is no such study")
        if row["state"] in OPEN:
            raise BusyError("the study waits or runs: cancel it first")
        for role, one in found.items():
            one.path.rename(folder / names[role])
            base.execute(
                f"UPDATE studies SET {role} = ? WHERE id = ?", (os.fsencode(names[role]), study)
            )
        if "phase" in names:
            # Its display copy is made by the import.
            base.execute("UPDATE studies SET imported = 0 WHERE id = ?", (study,))
    return json_response(list_studies(context.store, [study])[0])

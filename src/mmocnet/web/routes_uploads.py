"""Routes of uploads: files come in, are kept under names of ours, and are queued."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from mmocnet.config import OperatingPoint
from mmocnet.errors import InputError
from mmocnet.web.answers import json_response
from mmocnet.web.context import Context
from mmocnet.web.drops import extra_name, keep_files, studies_in
from mmocnet.web.studies import (
    add_study,
    check_idle,
    detach_file,
    list_studies,
    queue_study,
    read_study,
)
from mmocnet.web.uploads import Upload, receive_upload


class UploadFields(BaseModel):
    """What is given with an upload."""

    model_config = ConfigDict(extra="ignore")

    spacing_mm: Annotated[float, Field(ge=0.02, le=20)] | None = None
    model: str | None = None
    point: OperatingPoint | None = None
    threshold: Annotated[float, Field(gt=0, le=1)] | None = None
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

    @router.delete("/studies/{study}/files/{role}", status_code=204)
    def detach(study: str, role: Literal["phase", "mask"]) -> Response:
        place = Path(detach_file(context.store, study, role))
        # An absolute path is the user's own file, in the folder that is served.
        if not place.is_absolute():
            (context.room.input(study) / place).unlink(missing_ok=True)
        return Response(status_code=204)

    return router


async def _receive(request: Request, context: Context) -> Upload:
    limit = round(context.upload_mb * 1e6)
    kind = request.headers.get("content-type", "")
    length = request.headers.get("content-length", "")
    declared = int(length) if length.isdecimal() else 0
    return await receive_upload(request.stream(), kind, context.room.incoming, limit, declared)


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
        check_idle(base, study)
        for role, one in found.items():
            one.path.rename(folder / names[role])
            base.execute(
                f"UPDATE studies SET {role} = ? WHERE id = ?", (os.fsencode(names[role]), study)
            )
        if "phase" in names:
            # Its display copy is made by the import.
            base.execute("UPDATE studies SET imported = 0 WHERE id = ?", (study,))
    return json_response(list_studies(context.store, [study])[0])

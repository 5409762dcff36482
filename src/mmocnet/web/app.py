"""The reading room's web application; importing it does nothing."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from mmocnet.errors import MmocnetError
from mmocnet.web import (
    routes_exports,
    routes_reading,
    routes_room,
    routes_studies,
    routes_uploads,
)
from mmocnet.web.context import Context
from mmocnet.web.problems import answer_to
from mmocnet.web.room import STATIC
from mmocnet.web.security import Access, Guard

LABELS = {
    404: "there is nothing at this address",
    405: "this address takes another method",
    413: "the request is too large",
}


def create_app(context: Context, access: Access) -> ASGIApp:
    """Return the application of one open room.

    Args:
        context: The room, its database, jobs and models.
        access: Who may come in.
    """
    app = FastAPI(title="mmocnet", docs_url=None, redoc_url=None, openapi_url=None)
    modules = (routes_room, routes_uploads, routes_studies, routes_reading, routes_exports)
    for module in modules:
        app.include_router(module.routes(context), prefix="/api")

    @app.get("/")
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    app.mount("/static", StaticFiles(directory=STATIC, follow_symlink=False))
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _http_error)
    for kind in (MmocnetError, Exception):
        app.add_exception_handler(kind, _any_error)
    return Guard(app, access)


def error_response(status: int, text: str) -> JSONResponse:
    """Return an error as the page expects it."""
    return JSONResponse({"error": text}, status)


def _any_error(_: Request, error: Exception) -> Response:
    return error_response(*answer_to(error))


def _http_error(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return error_response(status, LABELS.get(status, "the request cannot be answered"))


def _not_valid(_: Request, error: Exception) -> Response:
    found: list[Any] = list(error.errors()) if isinstance(error, RequestValidationError) else []
    first = found[0] if found else {"loc": (), "msg": "not valid"}
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    return error_response(400, f"{place or 'the request'}: {first['msg']}"[:300])

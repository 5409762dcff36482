"""Routes of the room itself: what it offers, and its readers."""

from fastapi import APIRouter
from starlette.responses import Response

from mmocnet import __version__
from mmocnet.io.report import NOTICE
from mmocnet.review.reading import REASONS
from mmocnet.web.answers import json_response
from mmocnet.web.context import Context
from mmocnet.web.models import model_json
from mmocnet.web.readers import add_reader, list_readers
from mmocnet.web.requests import ReaderRequest


def routes(context: Context) -> APIRouter:
    """Return the routes."""
    router = APIRouter()
    models = [
        model_json(model, default=number == 0)
        for number, model in enumerate(context.models.values())
    ]

    @router.get("/room")
    def room() -> Response:
        return json_response(
            {
                "version": __version__,
                "notice": NOTICE,
                "folder": context.folder,
                "models": models,
                "readers": list_readers(context.store),
                "upload_mb": context.upload_mb,
                "reasons": list(REASONS),
            }
        )

    @router.post("/readers")
    def reader(request: ReaderRequest) -> Response:
        return json_response(add_reader(context.store, request.name))

    return router

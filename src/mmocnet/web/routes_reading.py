"""Routes of reading: a reader's findings, what a reader does, and how readers agree."""

from fastapi import APIRouter
from starlette.responses import Response

from mmocnet.web.answers import json_response
from mmocnet.web.compared import compare_sides
from mmocnet.web.context import Context
from mmocnet.web.requests import EventRequest


def routes(context: Context) -> APIRouter:
    """Return the routes."""
    router = APIRouter()
    readings = context.readings

    @router.get("/studies/{study}/reading")
    def reading(study: str, reader: str) -> Response:
        return json_response(readings.state(study, reader))

    @router.post("/studies/{study}/events")
    def event(study: str, request: EventRequest) -> Response:
        return json_response(readings.add(study, request))

    @router.get("/studies/{study}/agreement")
    def agreement(study: str, result: str, first: str, second: str) -> Response:
        return json_response(compare_sides(readings, (study, result), first, second))

    @router.get("/studies/{study}/audit")
    def audit(study: str, reader: str) -> Response:
        events = readings.events(study, reader)
        return json_response({"events": [vars(one) for one in events]})

    return router

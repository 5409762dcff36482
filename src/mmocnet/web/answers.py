"""Answers as JSON, fast for long lists, NaN as null."""

import json
from typing import Any

from starlette.responses import Response

from mmocnet.io.dataset import plain


def json_response(content: dict[str, Any], status: int = 200) -> Response:
    """Return plain values as an answer; what JSON cannot hold is null."""
    text = json.dumps(plain(content), separators=(",", ":"), allow_nan=False)
    return Response(text, status, media_type="application/json")

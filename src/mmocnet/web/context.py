"""What every route works with."""

from dataclasses import dataclass
from typing import Any

from mmocnet.errors import InputError
from mmocnet.web.jobs import Supervisor
from mmocnet.web.models import Model
from mmocnet.web.readings import Readings
from mmocnet.web.room import Room
from mmocnet.web.store import Store


@dataclass(frozen=True)
class Context:
    """One open room.

    Attributes:
        room: Where its files are.
        store: Its database.
        supervisor: Its jobs.
        models: To choose from; the first is taken where none is chosen.
        readings: Those in use.
        folder: Whether a folder is served.
        upload_mb: Largest upload.
    """

    room: Room
    store: Store
    supervisor: Supervisor
    models: dict[str, Model]
    readings: Readings
    folder: bool = False
    upload_mb: float = 2000.0

    def run_settings(
        self, model: str | None, point: str | None, threshold: float | None
    ) -> dict[str, Any]:
        """Return what a segmentation is queued with.

        Raises:
            InputError: If there is no such model.
        """
        name = next(iter(self.models)) if model is None else model
        if name not in self.models:
            raise InputError(f"expected one of {', '.join(self.models)} as model")
        return {
            "model": name,
            "model_path": self.models[name].path,
            "stamp": self.models[name].stamp,
            # A threshold of one's own is none of the model's points.
            "point": None if threshold is not None else point or "balanced",
            "threshold": threshold,
        }

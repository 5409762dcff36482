"""The export job."""

from mmocnet.errors import InputError
from mmocnet.web.worker import Task


def export_study(task: Task) -> None:
    """Make the file of an export."""
    raise InputError("this export is not there yet")

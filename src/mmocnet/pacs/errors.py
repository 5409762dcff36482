"""What can go wrong between us and an archive."""

from mmocnet.errors import MmocnetError


class ServerError(MmocnetError):
    """The server did not do what it was asked; another try later may help."""


class AccessError(ServerError):
    """The server does not let us in."""


class StillArrivingError(MmocnetError):
    """A series had more instances when it was read than when it was taken."""

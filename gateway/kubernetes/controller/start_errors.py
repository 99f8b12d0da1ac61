"""Why the controller can't start a cluster."""

from gateway.service.termination import StartFailure


class StartError(Exception):
    """A cluster can't start; the text is for its user."""

    failure = StartFailure.OTHER


class SystemAccountError(StartError):
    """A pod would run as a system account: the API server must never have requested that."""


class NoRoomError(StartError):
    """The user's total leaves no room for a scheduler."""

    failure = StartFailure.TOTAL


class RoomSoonError(Exception):
    """The total leaves room for a scheduler once pods of the user that are being deleted have ended."""

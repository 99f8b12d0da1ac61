"""Check the heartbeats of schedulers: the types and the lengths of their fields. Pure."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from gateway.errors import Refusal

MOST_NAMES = 30_000
"""Most names of workers in one list: as many as a request's largest body has room for."""
MOST_COUNT = 10**9
"""Largest number of requested workers that the gateway reads; the site's bounds are far below."""

WorkerName = Annotated[str, StringConstraints(max_length=253)] | int
Names = Annotated[list[WorkerName], Field(max_length=MOST_NAMES)]
Address = Annotated[str, StringConstraints(max_length=320)]


class Heartbeat(BaseModel):
    """A heartbeat of upstream's scheduler. Fields that upstream does not read are left out."""

    model_config = ConfigDict(strict=True, extra="ignore")

    count: Annotated[int, Field(ge=0, le=MOST_COUNT)]
    """The number of workers that the cluster requests."""
    active_workers: Names
    closing_workers: Names
    closed_workers: Names
    scheduler_address: Address = ""
    dashboard_address: Address = ""
    api_address: Address = ""


def checked(message: object) -> dict[str, Any]:
    """Return the fields of a heartbeat. Raises :class:`Refusal` with the first field that is wrong."""
    try:
        return Heartbeat.model_validate(message).model_dump()
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part)[:40] for part in fault["loc"][:2]) or "it"
        raise Refusal(f"The heartbeat is malformed: {place}: {fault['msg'][:200]}.") from None

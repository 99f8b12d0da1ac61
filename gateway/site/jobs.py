"""How the SLURM gateway's jobs are placed, and the bounds of the launcher that submits them."""

from typing import Annotated

from pydantic import Field

from gateway.site.types import AbsolutePath, Model, Seconds

SlurmWord = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.,&|:*()\[\]-]*$")]
"""A word of sbatch: a partition, a reservation, a QOS, or an expression of node features."""


class JobPlacement(Model):
    """Options of sbatch that place jobs of a kind; SLURM decides those that are absent."""

    partition: SlurmWord
    reservation: SlurmWord | None = None
    qos: SlurmWord | None = None
    constraint: SlurmWord | None = None
    extra_options: tuple[Annotated[str, Field(pattern=r"^--[a-z][^\n]*$")], ...] = ()
    """More options of sbatch, for example ``--exclusive=user``: lines ``#SBATCH`` of the job scripts. The gateway's own
    options override them."""


class Launcher(Model):
    """The launcher on the submission host, which acts as the users."""

    socket: AbsolutePath
    """The socket at which systemd starts the launcher for the server's account."""
    most_calls: Annotated[int, Field(ge=1)]
    """Bound on simultaneous calls of the server."""
    seconds: Seconds
    """systemd ends a call after this time; longer than the timeout of each command of SLURM."""
    memory_mib: Annotated[int, Field(ge=64)]
    """Bound on the memory of one call."""
    processes: Annotated[int, Field(ge=2)]
    """Bound on the processes and threads of one call."""

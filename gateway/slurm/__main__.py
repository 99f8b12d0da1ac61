"""The SLURM gateway's services: ``python -m gateway.slurm server`` and ``python -m gateway.slurm proxy``."""

import sys
from collections.abc import Sequence
from typing import Any

from dask_gateway_server.app import DaskGateway

from gateway.service.metrics import Measured
from gateway.settings import current_site
from gateway.site import Backend
from gateway.slurm.configuration import server_config

ARGUMENTS = {"server": [], "proxy": ["proxy"]}
"""Command -> upstream's command line."""


class SlurmGateway(Measured, DaskGateway):  # type: ignore[misc] # upstream has no types
    """Upstream's application, configured by the site instead of a configuration file."""

    kind = Backend.SLURM

    def load_config_file(self, *_arguments: Any, **_options: Any) -> None:
        """Take the site's configuration; upstream's proxy command calls this too."""
        self.update_config(server_config(current_site()))


def main(arguments: Sequence[str]) -> None:
    """Run the service that the only argument names, until it is told to end."""
    if len(arguments) != 1 or arguments[0] not in ARGUMENTS:
        sys.exit(f"usage: python -m gateway.slurm {'|'.join(ARGUMENTS)}")
    SlurmGateway.launch_instance(argv=ARGUMENTS[arguments[0]])


if __name__ == "__main__":
    main(sys.argv[1:])

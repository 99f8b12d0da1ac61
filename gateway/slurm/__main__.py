"""Services of the SLURM gateway: ``python -m gateway.slurm server`` and ``python -m gateway.slurm proxy``."""

import sys
from collections.abc import Sequence
from typing import Any

from gateway.service.application import GatewayApplication
from gateway.service.metrics import Measured
from gateway.settings import current_site
from gateway.site import Backend
from gateway.slurm.configuration import server_config

ARGUMENTS = {"server": [], "proxy": ["proxy"]}
"""Name of a service -> arguments of upstream's command."""


class SlurmGateway(Measured, GatewayApplication):
    """Upstream's application; the site configures it instead of a configuration file."""

    kind = Backend.SLURM

    def load_config_file(self, *_arguments: Any, **_options: Any) -> None:
        """Load the configuration from the site; upstream's proxy command calls this too."""
        self.update_config(server_config(current_site()))


def main(arguments: Sequence[str]) -> None:
    """Run the service that the only argument names, until a signal ends it."""
    if len(arguments) != 1 or arguments[0] not in ARGUMENTS:
        sys.exit(f"usage: python -m gateway.slurm {'|'.join(ARGUMENTS)}")
    SlurmGateway.launch_instance(argv=ARGUMENTS[arguments[0]])


if __name__ == "__main__":
    main(sys.argv[1:])

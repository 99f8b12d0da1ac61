"""The API server of the SLURM gateway: ``python -m gateway.slurm server``."""

import sys
from collections.abc import Sequence
from typing import Any

from gateway.service.application import GatewayApplication
from gateway.service.metrics import Measured
from gateway.settings import current_site
from gateway.site import Backend
from gateway.slurm.configuration import server_config


class SlurmGateway(Measured, GatewayApplication):
    """Upstream's application; the site configures it instead of a configuration file."""

    kind = Backend.SLURM

    def load_config_file(self, *_arguments: Any, **_options: Any) -> None:
        """Load the configuration from the site."""
        self.update_config(server_config(current_site()))


def main(arguments: Sequence[str]) -> None:
    """Run the service that the only argument names, until a signal ends it."""
    if list(arguments) != ["server"]:
        sys.exit("usage: python -m gateway.slurm server")
    SlurmGateway.launch_instance(argv=[])


if __name__ == "__main__":
    main(sys.argv[1:])

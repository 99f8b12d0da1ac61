"""Settings of a stack: the site file, and the values of Pulumi's configuration that must not be in the site file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pulumi

from gateway import site


@dataclass(frozen=True)
class StackSettings:
    """All inputs of :func:`infra.program.build`."""

    site: site.Site
    hub_token: pulumi.Input[str]
    """API token of the gateway's JupyterHub service; a secret."""
    directory_ca: str | None = None
    """Certificates (PEM) of the directory's certificate authority, for sites with ``identity.directory.ca_file``."""
    hub_ca: str | None = None
    """Likewise those of JupyterHub, for sites with another ``identity.hub.ca_file``."""

    @property
    def authorities(self) -> Mapping[str, str]:
        """Return the site's files of authorities: path -> certificates (PEM)."""
        identity = self.site.identity
        files = {identity.hub.ca_file: self.hub_ca, identity.directory.ca_file: self.directory_ca}
        return {path: text for path, text in files.items() if path is not None and text is not None}


def read(config: pulumi.Config, project: Path) -> StackSettings:
    """Read the settings of the selected stack from Pulumi's configuration.

    Keys: ``site`` (required), path of the site file, relative to the project; ``hub-token`` (required, secret), API
    token of the JupyterHub service; ``images``, an object with any of ``server``, ``environment``, ``traefik`` that
    replaces images of the site; ``directory-ca`` (PEM), required when the site has ``identity.directory.ca_file``;
    ``hub-ca`` (PEM), required when the site has another ``identity.hub.ca_file``.
    Raises ``pulumi.RunError`` that says what to set.
    """
    try:
        loaded = site.load(project / config.require("site"))
    except site.SiteError as error:
        raise pulumi.RunError(str(error)) from error
    identity = loaded.identity
    shared = identity.hub.ca_file == identity.directory.ca_file
    return StackSettings(
        site=with_images(loaded, config.get_object("images") or {}),
        hub_token=config.require_secret("hub-token"),
        directory_ca=_authority(config, "directory", identity.directory.ca_file),
        hub_ca=None if shared else _authority(config, "hub", identity.hub.ca_file),
    )


def _authority(config: pulumi.Config, system: str, ca_file: str | None) -> str | None:
    """Return the certificates of a system's authority; None if the site trusts the gateways' system authorities."""
    certificates = config.get(f"{system}-ca")
    if ca_file and not certificates:
        raise pulumi.RunError(
            f"the site's identity.{system}.ca_file is {ca_file}, but the stack's configuration has no {system}-ca: "
            f"set it with `pulumi config set {system}-ca < ca.crt`"
        )
    return certificates if ca_file else None


def with_images(original: site.Site, images: dict[str, str]) -> site.Site:
    """Return the site with some of its images replaced. Raises ``pulumi.RunError`` for an unknown image."""
    unknown = sorted(set(images) - set(site.Images.model_fields))
    if unknown:
        known = ", ".join(site.Images.model_fields)
        raise pulumi.RunError(
            f"the stack's configuration images has the unknown key {unknown[0]!r}: use one of {known}"
        )
    replaced = original.kubernetes.images.model_copy(update=images)
    kubernetes = original.kubernetes.model_copy(update={"images": replaced})
    return original.model_copy(update={"kubernetes": kubernetes})

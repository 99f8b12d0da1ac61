"""Settings of a stack: the site file, and the values of Pulumi's configuration that must not be in the site file."""

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


def read(config: pulumi.Config, project: Path) -> StackSettings:
    """Read the settings of the selected stack from Pulumi's configuration.

    Keys: ``site`` (required), path of the site file, relative to the project; ``hub-token`` (required, secret), API
    token of the JupyterHub service; ``images``, an object with any of ``server``, ``environment``, ``traefik`` that
    replaces images of the site; ``directory-ca`` (PEM), required when the site has ``identity.directory.ca_file``.
    Raises ``pulumi.RunError`` that says what to set.
    """
    try:
        loaded = site.load(project / config.require("site"))
    except site.SiteError as error:
        raise pulumi.RunError(str(error)) from error
    directory_ca = config.get("directory-ca")
    ca_file = loaded.identity.directory.ca_file
    if ca_file and not directory_ca:
        raise pulumi.RunError(
            f"the site's identity.directory.ca_file is {ca_file}, but the stack's configuration has no directory-ca: "
            "set it with `pulumi config set directory-ca < ca.crt`"
        )
    return StackSettings(
        site=with_images(loaded, config.get_object("images") or {}),
        hub_token=config.require_secret("hub-token"),
        directory_ca=directory_ca if ca_file else None,
    )


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

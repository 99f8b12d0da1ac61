"""Settings that the program reads from Pulumi's configuration."""

import pulumi
import pytest
from pulumi_kubernetes.core.v1 import ConfigMap

from infra import stack_settings
from tests.infra.recorder import is_secret, record
from tests.infra.samples import ROOT

PROJECT = "af-dask-gateway"


def configured(**configuration):
    """Return a stack's configuration; ``_`` in a keyword stands for ``-``."""
    pulumi.runtime.set_all_config(
        {f"{PROJECT}:{key.replace('_', '-')}": value for key, value in configuration.items()},
        [f"{PROJECT}:hub-token"],
    )
    return pulumi.Config(PROJECT)


def read(**configuration):
    """Return the settings of a stack with this configuration."""
    found = []
    record(lambda: found.append(stack_settings.read(configured(**configuration), ROOT)))
    return found[0]


def test_reads_the_site():
    found = read(site="sites/geddes.yaml", hub_token="t")
    assert found.site.name == "geddes"
    assert found.directory_ca is None


def test_images_are_replaced_one_by_one():
    found = read(site="sites/geddes.yaml", hub_token="t", images='{"server": "mine:1"}')
    assert found.site.kubernetes.images.server == "mine:1"
    assert found.site.kubernetes.images.traefik.endswith("traefik:v3.7.15")


def test_the_token_is_a_secret():
    def program():
        settings = stack_settings.read(configured(site="sites/geddes.yaml", hub_token="t"), ROOT)
        ConfigMap("a", data={"token": settings.hub_token})

    recorded = record(program)
    (config_map,) = recorded.resources
    assert is_secret(config_map.inputs["data"])


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"site": "sites/geddes.yaml"}, "hub-token"),
        ({"hub_token": "t"}, "site"),
        ({"site": "sites/absent.yaml", "hub_token": "t"}, "can't be read"),
        ({"site": "sites/testbed.yaml", "hub_token": "t"}, "pulumi config set directory-ca"),
        ({"site": "sites/geddes.yaml", "hub_token": "t", "images": '{"servr": "x"}'}, "unknown key 'servr'"),
    ],
)
def test_says_what_is_missing(configuration, message):
    with pytest.raises(Exception, match=message):
        read(**configuration)

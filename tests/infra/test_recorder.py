"""The recorder itself: with a recorder that records nothing, all other tests of this package would pass."""

import pulumi
import pytest
from pulumi_kubernetes.core.v1 import ConfigMap

from tests.infra.recorder import record


def test_records_what_is_declared():
    recorded = record(lambda: ConfigMap("a", metadata={"name": "a"}, data={"key": "value"}))
    assert recorded.manifests.get("ConfigMap", "a")["data"] == {"key": "value"}


def test_fails_for_what_is_not_declared():
    recorded = record(lambda: ConfigMap("a", metadata={"name": "a"}))
    with pytest.raises(AssertionError, match="no ConfigMap b; there are: a"):
        recorded.manifests.get("ConfigMap", "b")


def test_hands_on_errors_of_the_program():
    def program():
        raise pulumi.RunError("wrong")

    with pytest.raises(pulumi.RunError, match="wrong"):
        record(program)


def test_hands_on_errors_of_inputs():
    def wrong(_):
        raise ValueError("wrong input")

    with pytest.raises(Exception, match="wrong input"):
        record(lambda: ConfigMap("a", metadata={"name": pulumi.Output.from_input("a").apply(wrong)}))

"""Admission policies, without a Kubernetes that evaluates them: whom and what they name exists in the same stack.

The end-to-end suite (``tests/e2e/test_findings_kubernetes.py``) sees a real API server refuse objects by them.
"""

import re

import pytest

from gateway.site import ClaimSource
from infra.admission import policies
from tests.infra.recorder import render
from tests.infra.samples import settings_of

KINDS = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


@pytest.mark.finding("R6")
def test_each_policy_denies_in_the_clusters_namespace(manifests, any_site):
    declared, bindings = (manifests.of_kind(kind) for kind in KINDS)
    assert len(declared) == len(policies(any_site))
    for name, policy in declared.items():
        assert policy["spec"]["failurePolicy"] == "Fail"
        selector = policy["spec"]["matchConstraints"]["namespaceSelector"]["matchLabels"]
        assert selector == {"kubernetes.io/metadata.name": any_site.kubernetes.clusters_namespace}
        assert bindings[name]["spec"] == {"policyName": name, "validationActions": ["Deny"]}
    assert bindings.keys() == declared.keys()


def test_an_older_cluster_gets_no_policy(testbed_site):
    gateway = testbed_site.kubernetes.model_copy(update={"admission_policies": False})
    stack = render(settings_of(testbed_site.model_copy(update={"kubernetes": gateway})))
    assert not any(manifest["kind"] in KINDS for manifest in stack)


@pytest.mark.finding("R6")
def test_requesters_are_the_stacks_accounts(manifests, any_site):
    named = {
        account
        for policy in policies(any_site)
        for account in re.findall(r"system:serviceaccount:([^']*)'", policy.condition)
    }
    accounts = manifests.of_kind("ServiceAccount")
    namespace, release = any_site.kubernetes.namespace, any_site.kubernetes.release
    assert named == {f"{namespace}:{part}-{release}" for part in ("api", "controller")}
    assert {account.split(":")[1] for account in named} <= accounts.keys()


@pytest.mark.finding("R6")
def test_pods_may_mount_the_stacks_claims_alone(manifests, any_site):
    (expression,) = (
        rule.expression for policy in policies(any_site) for rule in policy.rules if "claimName" in rule.expression
    )
    (listed,) = re.findall(r"claimName in \[([^]]*)\]", expression)
    ready = {volume.kubernetes.claim for volume in any_site.storage if isinstance(volume.kubernetes, ClaimSource)}
    assert set(re.findall(r"'([^']*)'", listed)) == ready | manifests.of_kind("PersistentVolumeClaim").keys()


def test_pods_are_of_the_sites_image_and_account(any_site):
    expressions = [rule.expression for rule in policies(any_site)[0].rules]
    assert any(f".image == '{any_site.kubernetes.images.environment}'" in text for text in expressions)
    assert any(f".serviceAccountName == 'clusters-{any_site.kubernetes.release}'" in text for text in expressions)

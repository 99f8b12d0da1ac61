"""ValidatingAdmissionPolicies: what Kubernetes admits from the gateway's own parts, should one be in foreign hands.

The controller makes pods by the site and the directory (:mod:`gateway.kubernetes.pods`). These policies are the second
line: the API server of Kubernetes refuses objects that the controller and the gateway's API never make. The expressions
are CEL (https://kubernetes.io/docs/reference/using-api/cel); one that fails to evaluate refuses the object.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.admissionregistration.v1 import ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding

from gateway.kubernetes import names
from gateway.site import Site

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
"""Label with the namespace's name, which Kubernetes sets on each namespace."""
SERVICE_NAME_LABEL = "kubernetes.io/service-name"
"""Label by which proxies find the EndpointSlices of a Service."""


@dataclass(frozen=True)
class Rule:
    """A condition on an object, and the message to a requester whose object does not meet it."""

    expression: str
    message: str


@dataclass(frozen=True)
class Policy:
    """The objects of one kind that a policy checks, when they are created, and its rules."""

    name: str
    resource: str
    """The kind in the plural."""
    condition: str
    """CEL expression that selects requests, for example by their user."""
    rules: Sequence[Rule]
    group: str = ""
    variables: Mapping[str, str] | None = None
    """Expressions that rules use as ``variables.NAME``."""


class AdmissionPolicies(pulumi.ComponentResource):
    """The policies on pods, Services, EndpointSlices and Secrets, and a binding for each, which denies."""

    def __init__(self, name: str, site: Site, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("af-dask-gateway:infra:AdmissionPolicies", name, {}, opts)
        self._gateway = site.kubernetes
        self.policies: list[ValidatingAdmissionPolicy] = []
        self.bindings: list[ValidatingAdmissionPolicyBinding] = []
        for policy in policies(site):
            self._declare(policy)
        self.register_outputs({})

    def _declare(self, policy: Policy) -> None:
        # Policies have no namespace, so the prefix keeps those of two gateways apart.
        name = f"{self._gateway.namespace}-{self._gateway.release}-{policy.name}"
        metadata = {"name": name, "labels": names.common_labels(self._gateway.release)}
        variables = [{"name": key, "expression": text} for key, text in (policy.variables or {}).items()]
        made = ValidatingAdmissionPolicy(
            name,
            metadata=metadata,
            spec={
                "failure_policy": "Fail",
                "match_constraints": {
                    "namespace_selector": {"match_labels": {NAMESPACE_LABEL: self._gateway.clusters_namespace}},
                    "resource_rules": [
                        {
                            "api_groups": [policy.group],
                            "api_versions": ["v1"],
                            "operations": ["CREATE"],
                            "resources": [policy.resource],
                        }
                    ],
                },
                "match_conditions": [{"name": "requester", "expression": policy.condition}],
                **({"variables": variables} if variables else {}),
                "validations": [{"expression": rule.expression, "message": rule.message} for rule in policy.rules],
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.policies.append(made)
        self.bindings.append(
            ValidatingAdmissionPolicyBinding(
                name,
                metadata=metadata,
                spec={"policy_name": name, "validation_actions": ["Deny"]},
                opts=pulumi.ResourceOptions(parent=self, depends_on=[made]),
            )
        )


def policies(site: Site) -> list[Policy]:
    """Return the policies of a site. Pure."""
    release, namespace = site.kubernetes.release, site.kubernetes.namespace
    controller = _account(namespace, names.controller_name(release))
    api = _account(namespace, names.api_name(release))
    by_controller = f"request.userInfo.username == {_text(controller)}"
    of_cluster = {"cluster": _label(names.CLUSTER_LABEL)}
    return [
        Policy("pods", "pods", by_controller, pod_rules(site), variables=of_cluster),
        Policy(
            "foreign-pods",
            "pods",
            f"{_label(names.INSTANCE_LABEL)} == {_text(release)} && !({by_controller})",
            [Rule("false", f"only the controller makes pods with the label {names.INSTANCE_LABEL}={release}")],
        ),
        Policy("services", "services", by_controller, SERVICE_RULES, variables=of_cluster),
        Policy(
            "endpoint-slices",
            "endpointslices",
            by_controller,
            ENDPOINT_SLICE_RULES,
            group="discovery.k8s.io",
            variables=of_cluster,
        ),
        Policy(
            "secrets",
            "secrets",
            f"request.userInfo.username in {_texts([controller, api])}",
            SECRET_RULES,
            variables=of_cluster,
        ),
    ]


def pod_rules(site: Site) -> list[Rule]:
    """Return the rules for pods of users' clusters. Pod Security "restricted" has those for privileges and ports."""
    gateway, identity = site.kubernetes, site.identity
    claims = sorted(names.claim_name(site, volume) for volume in site.storage if volume.kubernetes is not None)
    uid, gid = max(identity.minimum_uid, 1), max(identity.minimum_gid, 1)
    context, account = "object.spec.securityContext", names.clusters_account_name(gateway.release)
    return [
        Rule(
            f"has({context}.runAsUser) && {context}.runAsUser >= {uid}"
            f" && string({context}.runAsUser) == {_label(names.UID_LABEL)}",
            f"a cluster's pod runs as the uid of its label {names.UID_LABEL}, which is at least {uid}",
        ),
        Rule(
            f"has({context}.runAsGroup) && {context}.runAsGroup >= {gid} && !has({context}.fsGroup)"
            f" && (!has({context}.supplementalGroups) || {context}.supplementalGroups.all(gid, gid >= {gid}))",
            f"a cluster's pod has gids of at least {gid}, and no fsGroup",
        ),
        Rule(
            f"has({context}.runAsNonRoot) && {context}.runAsNonRoot",
            "a cluster's pod sets runAsNonRoot",
        ),
        Rule(
            f"size(object.spec.containers) == 1"
            f" && object.spec.containers[0].image == {_text(gateway.images.environment)}"
            " && (!has(object.spec.initContainers) || size(object.spec.initContainers) == 0)",
            "a cluster's pod has one container, of the site's environment image",
        ),
        Rule(
            "object.spec.containers.all(c, has(c.securityContext) && !has(c.securityContext.runAsUser)"
            " && !has(c.securityContext.runAsGroup) && !has(c.securityContext.runAsNonRoot)"
            " && has(c.securityContext.readOnlyRootFilesystem) && c.securityContext.readOnlyRootFilesystem)",
            "a cluster's container has the account of its pod, and a read-only root file system",
        ),
        Rule(
            "!has(object.spec.volumes) || object.spec.volumes.all(v, has(v.emptyDir)"
            f" || (has(v.persistentVolumeClaim) && v.persistentVolumeClaim.claimName in {_texts(claims)})"
            " || (has(v.secret) && has(v.secret.secretName) && v.secret.secretName in"
            " ['dask-credentials-' + variables.cluster, 'dask-variables-' + variables.cluster]))",
            "a cluster's pod mounts the site's storage, its own cluster's Secrets and emptyDirs",
        ),
        Rule(
            "object.spec.containers.all(c, !has(c.envFrom) || size(c.envFrom) == 0) && object.spec.containers.all(c,"
            " !has(c.env) || c.env.all(e, !has(e.valueFrom) || has(e.valueFrom.fieldRef)))",
            "a cluster's container takes no variable from a Secret or a ConfigMap",
        ),
        Rule(
            f"has(object.spec.serviceAccountName) && object.spec.serviceAccountName == {_text(account)}"
            " && has(object.spec.automountServiceAccountToken) && !object.spec.automountServiceAccountToken",
            f"a cluster's pod has the ServiceAccount {account}, and no token",
        ),
        Rule(
            "(!has(object.spec.hostNetwork) || !object.spec.hostNetwork)"
            " && (!has(object.spec.hostPID) || !object.spec.hostPID)"
            " && (!has(object.spec.hostIPC) || !object.spec.hostIPC)"
            " && (!has(object.spec.nodeName) || object.spec.nodeName == '')",
            "a cluster's pod has namespaces of its own, and Kubernetes' scheduler chooses its node",
        ),
    ]


SERVICE_RULES = [
    Rule(
        "(!has(object.spec.type) || object.spec.type == 'ClusterIP')"
        " && has(object.spec.clusterIP) && object.spec.clusterIP == 'None'"
        " && (!has(object.spec.externalIPs) || size(object.spec.externalIPs) == 0)",
        "a cluster's Service is headless, without an external address",
    ),
    Rule(
        "!has(object.spec.selector) && object.metadata.name == 'dask-' + variables.cluster",
        "a cluster's Service has the name of its cluster, and no selector",
    ),
]
ENDPOINT_SLICE_RULES = [
    Rule(
        "object.metadata.name == 'dask-' + variables.cluster && has(object.metadata.labels)"
        f" && '{SERVICE_NAME_LABEL}' in object.metadata.labels"
        f" && object.metadata.labels['{SERVICE_NAME_LABEL}'] == object.metadata.name",
        "the controller routes no Service but those of clusters",
    ),
]
SECRET_RULES = [
    Rule(
        # Kubernetes fills a Secret of another type with the token of any ServiceAccount that it names.
        "!has(object.type) || object.type == 'Opaque'",
        "a cluster's Secret is of the type Opaque",
    ),
    Rule(
        "has(object.metadata.name) && object.metadata.name in"
        " ['dask-credentials-' + variables.cluster, 'dask-variables-' + variables.cluster]",
        "a cluster's Secret has the name of its cluster",
    ),
]


def _account(namespace: str, name: str) -> str:
    """Return the name under which a ServiceAccount makes requests."""
    return f"system:serviceaccount:{namespace}:{name}"


def _text(text: str) -> str:
    """Return a CEL string. The site's names have no quote and no backslash."""
    assert not set("'\\\n") & set(text), text
    return f"'{text}'"


def _texts(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(_text, texts))}]"


def _label(key: str) -> str:
    """Return the CEL expression of the value of an object's label; empty text without it."""
    return f"(has(object.metadata.labels) && '{key}' in object.metadata.labels ? object.metadata.labels['{key}'] : '')"

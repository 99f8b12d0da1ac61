"""The defences of the Kubernetes gateway, which are removed in its pods and objects."""

from gateway.kubernetes import names
from tests.e2e.defences.defence import Defence, tests
from tests.e2e.defences.kubernetes import ObjectAdded, ObjectEdit, PodEdits
from tests.e2e.defences.removal import Both, Edit
from tests.e2e.machines import API, CONTROLLER, RELEASE, SETTINGS

CLUSTERS_NAMESPACE = SETTINGS.kubernetes.clusters_namespace

ALLOW_ALL = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "removed-defence"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]},
}
START_WITH_ADDRESS = """name, _, address = name.partition("@")
        await self._note(name, {dask_clusters.STARTED: k8s_timestamp()})
        if address:
            noted = [{"op": "add", "path": "/metadata/annotations", "value": {"address": address}}]
            await self.custom_client.patch_namespaced_custom_object(
                GROUP, self.crd_version, self.namespace, PLURAL, name.partition(".")[2], noted
            )"""
"""The API notes the address in a start report, and by :data:`BELIEVED_ADDRESS` the controller believes it."""
BELIEVED_ADDRESS = 'address = (cluster["metadata"].get("annotations") or {}).get("address") or address_of(scheduler)'
VERIFIED_ACCOUNT = """account = await verified.account_of(
            username, user_class, cluster_spec.named_account(cluster), self._site.identity, self._directory
        )"""
NAMED_ACCOUNT = """from gateway.identity.accounts import Account
        named = cluster_spec.named_account(cluster)
        account = Account(username, named.uid, named.gid, ())"""

ON_KUBERNETES = [
    Defence(
        "R4a",
        "the controller routes to the address that a scheduler reports",
        Both(
            PodEdits(
                API,
                Edit(
                    "gateway/service/scheduler_reports.py",
                    "await noted(name)",
                    "await noted(f\"{name}@{(await request.json()).get('address', '')}\" if path == START else name)",
                ),
                Edit(
                    "gateway/kubernetes/api/backend.py",
                    "await self._note(name, {dask_clusters.STARTED: k8s_timestamp()})",
                    START_WITH_ADDRESS,
                ),
            ),
            PodEdits(
                CONTROLLER,
                Edit("gateway/kubernetes/controller/routes.py", "address = address_of(scheduler)", BELIEVED_ADDRESS),
            ),
        ),
        tests("addresses", "test_a_scheduler_is_routed_to_at_its_pods_address[kubernetes]"),
    ),
    Defence(
        "R4g",
        "the API asks the hub about any number of unknown tokens",
        PodEdits(
            API,
            Edit("gateway/identity/guard.py", "if self._spent(at) + 1 > self._bounds.attempts:", "if False:"),
        ),
        tests("identity", "test_a_flood_of_unknown_tokens_asks_the_hub_a_few_times[kubernetes]"),
    ),
    Defence(
        "R5",
        "Traefik asks for no login before a dashboard",
        ObjectEdit(
            "middlewares.traefik.io",
            names.dashboard_login_middleware_name(RELEASE),
            # Traefik refuses a Middleware that does nothing.
            {
                "op": "replace",
                "path": "/spec",
                "value": {"headers": {"customRequestHeaders": {"X-Removed-Defence": "login"}}},
            },
            namespace=CLUSTERS_NAMESPACE,
        ),
        tests(
            "dashboards",
            "test_without_a_login_a_program_is_refused[kubernetes]",
            "test_headers_of_a_proxy_do_not_open_it[kubernetes]",
        ),
    ),
    Defence(
        "R6",
        "no admission policy looks at the controller's pods",
        ObjectEdit("validatingadmissionpolicybindings", f"{SETTINGS.kubernetes.namespace}-{RELEASE}-pods"),
        tests(
            "kubernetes",
            "test_a_forged_pod_is_refused[uid-kubernetes]",
            "test_a_forged_pod_is_refused[image-kubernetes]",
            "test_a_forged_pod_is_refused[secret-kubernetes]",
        ),
    ),
    Defence(
        "R6",
        "the API's Role lists Secrets",
        ObjectEdit(
            "roles",
            names.clusters_role_name(names.api_name(RELEASE)),
            {
                "op": "add",
                "path": "/rules/-",
                "value": {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]},
            },
            namespace=CLUSTERS_NAMESPACE,
        ),
        tests("kubernetes", f"test_no_part_lists_secrets[{names.api_name(RELEASE)}-kubernetes]"),
    ),
    Defence(
        "R6",
        "the controller runs pods under the account that the API names",
        PodEdits(
            CONTROLLER,
            Edit("gateway/kubernetes/controller/requests.py", VERIFIED_ACCOUNT, NAMED_ACCOUNT),
        ),
        tests("kubernetes", "test_nothing_runs_for_a_forged_cluster[uid of another class-kubernetes]"),
        "TimeoutError: not within .*: the cluster has failed",
    ),
    Defence(
        "R8",
        "the API takes the account that a user of the pool claims",
        PodEdits(API, Edit("gateway/identity/accounts.py", "if env[name] != str(wanted):", "if False:")),
        tests("identity", "test_the_account_of_another_pool_user_is_refused[kubernetes]"),
    ),
    Defence(
        "R9",
        "a NetworkPolicy allows all connections of all pods",
        ObjectAdded(ALLOW_ALL, CLUSTERS_NAMESPACE),
        tests("network", "test_users_code_reaches_no_other_machine_and_no_other_pod[kubernetes]"),
    ),
]

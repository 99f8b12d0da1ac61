"""Where the testbed keeps its state: outside of the clone, so that every clone finds the running testbed.

The state belongs to the testbed that is up now; what can be built again lies in :data:`release.paths.CACHE`.
"""

from release.paths import ROOT, xdg

STATE = xdg("XDG_STATE_HOME", ".local/state") / "testbed"
LOGS = STATE / "logs"
STORAGE = STATE / "storage"
"""Directories that stand for Depot, /work, CVMFS and EOS."""
SECRETS = STATE / "secrets"
"""Keys, tokens and passwords of the running testbed; mode 0700."""
KUBECONFIG = STATE / "kubeconfig"
SITE = ROOT / "sites" / "testbed.yaml"

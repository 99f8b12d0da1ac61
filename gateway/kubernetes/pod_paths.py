"""Paths inside the pods of clusters."""

SCRATCH = "/scratch"
"""Home and working directory of scheduler and workers: a volume of the pod, deleted with it."""
TMP = "/tmp"  # noqa: S108 - a volume of the pod
PREFLIGHT = "/opt/dask-gateway/preflight.py"
"""``gateway/as_user/preflight.py`` in the pods' image; any ``python3`` of that image runs it."""
PRELOAD = "/opt/dask-gateway/preload.py"
"""``gateway/as_user/preload.py`` in the pods' image; schedulers load it."""
VARIABLES = "/etc/dask-variables"
"""Where pods mount the Secret of :func:`gateway.kubernetes.names.variables_name`."""
PASSWD = "/etc/passwd"  # noqa: S105 - the path of a file
TERMINATION_LOG = "/dev/termination-log"
"""The kubelet copies this file of an ended container into its pod's status."""

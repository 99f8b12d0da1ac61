"""The way of a refusal from the preflight in a job to the gateway.

One file, standard library only, for Python >= 3.8: it runs as the user, in an interpreter of the machine or the user's.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from typing import Dict

PATH = "refusal"
"""Last part of the path to which a refusal is posted, below the cluster's."""
TEXT = "text"
"""Key of the refusal's text in the posted object."""
MOST_CHARACTERS = 4096
"""Bound on the text."""
ATTEMPTS, ATTEMPT_SECONDS, PAUSE_SECONDS = 5, 5.0, 1.0
"""Number and timeout of the attempts, and the pause between them: a gateway that restarts is back before the last."""


def post(variables: Dict[str, str], text: str) -> None:
    """Post a refusal to the gateway with the cluster's token; write an error to standard error when all attempts fail.

    ``variables`` are those of the job; without the gateway's own among them, do nothing.
    """
    if "DASK_GATEWAY_API_URL" not in variables:
        return
    with open(variables["DASK_GATEWAY_API_TOKEN"]) as stream:
        token = stream.read()
    request = urllib.request.Request(
        f"{variables['DASK_GATEWAY_API_URL']}/v1/clusters/{variables['DASK_GATEWAY_CLUSTER_NAME']}/{PATH}",
        data=json.dumps({TEXT: text[:MOST_CHARACTERS]}).encode(),
        headers={"Authorization": f"token {token}", "Content-type": "application/json"},
    )
    # Without the user's proxies: the gateway is on the machines' own network.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    said = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        try:
            opener.open(request, timeout=ATTEMPT_SECONDS).close()
            return
        except OSError as error:
            said = repr(error)
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                break
    sys.stderr.write(f"\nThe gateway does not accept the refusal: {said}\n")

"""What a notebook's kernel does: run pieces of Python in one namespace, one after the other, and say what came of each.

Runs in the notebook container as the user, from its source alone. A line of standard input is a piece of code as JSON
text; a line of standard output is the reply: ``{"value": ...}`` of a last expression, or
``{"error": class, "message": text, "traceback": text}``. What the code itself prints goes to standard error.
"""

import ast
import json
import os
import sys
import traceback


def run(code, namespace):
    """Run a piece of code; returns the value of its last statement when that is an expression, else None."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), namespace)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), namespace) if last else None


def encoded(reply):
    """The reply as JSON; values that JSON can't hold as their repr."""
    try:
        return json.dumps(reply, default=repr)
    except TypeError:  # keys that are no text
        return json.dumps({"value": repr(reply["value"])})


def close_clusters(kept):
    """Close all clusters of the namespaces: those that were created here are shut down.

    The client's own attempt at exit fails when its connection was idle for long: Python has ended the thread pool by
    then that aiohttp resolves names with (dask-gateway 2026.3.0, not reported upstream).
    """
    if "dask_gateway" in sys.modules:
        kind = sys.modules["dask_gateway"].GatewayCluster
        values = (value for namespace in kept if isinstance(namespace, dict) for value in namespace.values())
        for cluster in {id(value): value for value in values if isinstance(value, kind)}.values():
            cluster.close()


def main():
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    namespace = {"__name__": "__main__"}
    # Gateway.__del__ blocks for ever when the garbage collector runs it on the event loop's own thread (dask-gateway
    # 2026.3.0, not reported upstream), so nothing that a cell made may become garbage before the end.
    kept = []
    for line in sys.stdin:
        try:
            reply = {"value": run(json.loads(line), namespace)}
        except BaseException as error:  # noqa: BLE001 - a kernel survives whatever a cell raises
            kept.append(error)
            reply = {"error": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()}
        kept.append(dict(namespace))
        replies.write(encoded(reply) + "\n")
    close_clusters(kept)


main()

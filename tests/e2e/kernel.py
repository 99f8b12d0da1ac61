"""A notebook's kernel: run cells of Python in one namespace, one after the other, and reply to each.

:class:`tests.e2e.notebooks.Notebook` passes this source to an interpreter in the notebook container, which runs it as
the user. A line of standard input is a cell as JSON text. A line of standard output is its reply: ``{"value": ...}`` of
the last expression, or ``{"error": class, "message": text, "traceback": text}``. What cells print goes to standard
error.
"""

import ast
import json
import os
import sys
import traceback


def run(code, namespace):
    """Run a cell and return the value of its last statement when that is an expression, else None."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), namespace)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), namespace) if last else None


def encoded(reply):
    """Return a reply as JSON; a value that JSON can't hold is replaced by its repr."""
    try:
        return json.dumps(reply, default=repr)
    except TypeError:  # keys that are not text
        return json.dumps({"value": repr(reply["value"])})


def close_clusters(kept):
    """Close all clusters of the namespaces, which shuts down those that this kernel created.

    The client itself tries so at exit, and fails when its connection was idle for long: Python has then ended the
    thread pool with which aiohttp resolves names (dask-gateway 2026.3.0, not reported upstream).
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
    # 2026.3.0, not reported upstream), so no object of a cell may become garbage before the kernel ends.
    kept = []
    for line in sys.stdin:
        try:
            reply = {"value": run(json.loads(line), namespace)}
        except BaseException as error:  # noqa: BLE001 - a kernel survives every exception of a cell
            kept.append(error)
            reply = {"error": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()}
        kept.append(dict(namespace))
        replies.write(encoded(reply) + "\n")
    close_clusters(kept)


main()

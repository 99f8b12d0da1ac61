"""Run code in a process of another account, because root, which tests may run as, may read and write everything.

Such a process can enter neither the clone nor the environment of the tests, which may lie in a private home: it runs
code that is imported already, and reads only files in the fixture ``shared_path``.
"""

import os
import pickle
from collections.abc import Callable
from typing import Any

NOBODY = 65534


def as_user(function: Callable[..., Any], *arguments: Any, uid: int = NOBODY, gid: int = NOBODY) -> Any:
    """Return the result of a function in a process of that account, or in this process where tests don't run as root.

    Raises the function's exception.
    """
    if os.getuid() != 0:
        return function(*arguments)
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        _run(writer, uid, gid, function, arguments)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        answer = stream.read()
    os.waitpid(process, 0)
    error, value = pickle.loads(answer)
    if error is not None:
        raise error
    return value


def _run(writer: int, uid: int, gid: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
        answer = pickle.dumps((None, function(*arguments)))
    except BaseException as error:  # noqa: BLE001 - the caller raises it
        answer = pickle.dumps((error, None))
    with os.fdopen(writer, "wb") as stream:
        stream.write(answer)
    os._exit(0)

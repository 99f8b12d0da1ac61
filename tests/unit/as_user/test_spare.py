"""The spare interpreter behaves like a process that multiprocessing spawns; it only starts faster."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.as_user import spare
from testbed.waiting import until

PROGRAM = f"""
import importlib.util, json, multiprocessing, os, signal, sys, threading, types

def look(answers):
    main = sys.modules["__main__"]
    try:
        sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        stdin = None
    else:
        stdin = os.readlink("/proc/self/fd/0")
    answers.put({{
        "pid": os.getpid(),
        "is spare": "imported_before" in sys.modules,
        "environ": dict(os.environ),
        "argv": sys.argv,
        "path": sys.path,
        "directory": os.getcwd(),
        "main": sorted(vars(main)),
        "file": main.__file__,
        "parent": multiprocessing.parent_process().pid == os.getppid(),
        "process": multiprocessing.current_process().name.rstrip("0123456789"),
        "descriptors": sorted(descriptors()),
        "signals": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "flags": list(sys.flags),
        "hash": hash("text"),
        "stdin": stdin,
        "umask": os.umask(0),
        "group": os.getpgid(0) == os.getpgid(os.getppid()),
    }})

def descriptors():
    for number in os.listdir("/proc/self/fd"):
        path = f"/proc/self/fd/{{number}}"
        if os.path.lexists(path):
            yield os.readlink(path).partition(":")[0]

def read_all(ends, answers):
    answers.put([end.recv() for end in ends])

def end(how):
    how()

def exit_with_three():
    sys.exit(3)

def fail():
    raise ArithmeticError("of the task")

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def child(target, *arguments):
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    process.start()
    return process

def looked():
    answers = multiprocessing.get_context("spawn").Queue()
    process = child(look, answers)
    seen = answers.get(timeout=20)
    process.join()
    assert process.exitcode == 0 and process.pid == seen["pid"]
    return seen

def keep_ready():
    spec = importlib.util.spec_from_file_location("spare", {str(Path(spare.__file__))!r})
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["imported_before"] = types.ModuleType("imported_before")
    module.keep_ready(module.read_at_start())

def children():
    with open(f"/proc/self/task/{{os.getpid()}}/children") as stream:
        return [int(pid) for pid in stream.read().split()]

if __name__ == "__main__":
    exec(sys.argv[1])
"""
STARTED_WITH = {"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "6640", "MALLOC_TRIM_THRESHOLD_": "65536", "LANG": "C.UTF-8"}


@pytest.fixture
def command(tmp_path):
    """Return the command that runs Python code in the main module of a program with a spare interpreter."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return lambda code: [sys.executable, str(path), code]


@pytest.fixture
def printed(command):
    """Run such code and return its output."""

    def run(code):
        ended = subprocess.run(command(code), env=STARTED_WITH, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return run


@pytest.fixture
def is_spare(printed):
    """Run code that prints processes, and tell of each whether it was the spare interpreter."""
    return lambda code: [seen["is spare"] for seen in map(json.loads, printed(code).splitlines())]


def test_the_first_process_is_like_any_other(printed):
    """Its variables, arguments, modules, descriptors, signals and standard input equal those of a spawned process."""
    code = """
keep_ready()
os.environ.update(NUMEXPR_MAX_THREADS="1", LATER="☃", MALLOC_TRIM_THRESHOLD_="65536")
del os.environ["PATH"]
os.chdir("/")
held = open("/dev/zero")
for seen in (looked(), looked()): print(json.dumps(seen))
"""
    first, second = map(json.loads, printed(code).splitlines())
    assert (first.pop("is spare"), second.pop("is spare")) == (True, False)
    assert first.pop("pid") != second.pop("pid")
    assert first["environ"]["LATER"] == "☃"
    assert first["parent"]
    assert first["group"]
    assert "/dev/zero" not in first["descriptors"]
    assert first == second


@pytest.mark.parametrize(
    ("target", "code"), [("exit_with_three", 3), ("fail", 1), ("kill", -signal.SIGKILL), ("int", 0)]
)
def test_how_it_ends_is_told(printed, target, code):
    each = f"process = child(end, {target}); process.join(); print(process.exitcode, process.pid in ready)"
    text = f"keep_ready()\nready = children()\nfor _ in range(2): {each}"
    assert printed(text) == f"{code} True\n{code} False\n"


def test_its_failures_are_printed_as_ever(command):
    code = "keep_ready()\nchild(end, fail).join()"
    ended = subprocess.run(command(code), env=STARTED_WITH, capture_output=True, text=True, check=False)
    assert ended.stderr.count("ArithmeticError: of the task") == 1
    assert "spare.py" not in ended.stderr


def test_variables_that_are_read_at_a_start_only_need_a_start(is_spare):
    """A nanny may be configured to set the first two; the dynamic linker reads the third."""
    for name in ("MALLOC_TRIM_THRESHOLD_", "PYTHONHASHSEED", "LD_PRELOAD"):
        assert is_spare(f"keep_ready()\nos.environ[{name!r}] = '0'\nprint(json.dumps(looked()))") == [False], name


def test_there_is_none_beside_a_thread(is_spare):
    """The thread could hold a lock, which would stay locked for ever in the child."""
    code = "event = threading.Event()\nthreading.Thread(target=event.wait).start()\nkeep_ready()\n"
    assert is_spare(code + "assert children() == []\nprint(json.dumps(looked()))\nevent.set()") == [False]


def test_one_that_was_killed_is_replaced(is_spare):
    code = "keep_ready()\nready, = children()\nos.kill(ready, signal.SIGKILL)\n"
    code += "os.waitid(os.P_PID, ready, os.WEXITED | os.WNOWAIT)\n"
    assert is_spare(code + "print(json.dumps(looked()))\nassert ready not in children()") == [False]


def test_one_that_does_not_suit_goes(is_spare):
    code = "keep_ready()\nready, = children()\nos.environ['PYTHONHASHSEED'] = '5'\n"
    assert is_spare(code + "print(json.dumps(looked()))\nassert ready not in children()") == [False]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_does_not_outlive_its_parent(command, how):
    code = "keep_ready()\nprint(*children(), flush=True)\nsignal.pause()"
    with subprocess.Popen(command(code), env=STARTED_WITH, stdout=subprocess.PIPE, text=True) as parent:
        ready = int(parent.stdout.readline())
        assert Path(f"/proc/{ready}").exists()
        parent.send_signal(how)
        parent.wait(10)
        # The end of the pipe: no process has standard output open any more.
        assert parent.stdout.read() == ""
    until("the spare interpreter is gone", lambda: not Path(f"/proc/{ready}").exists(), seconds=10)


def test_what_waits_to_be_printed_is_printed_once(printed):
    assert printed("print('once')\nkeep_ready()\nprint(looked()['is spare'])") == "once\nTrue\n"


def test_many_descriptors_come_under_their_numbers(printed):
    """The parent's numbers of the descriptors don't matter, nor those that the child receives."""
    code = """
keep_ready()
pipes = [multiprocessing.Pipe(duplex=False) for _ in range(40)]
pipes.reverse()
ready = children()
for number, (_, writing) in enumerate(pipes): writing.send(number)
answers = multiprocessing.get_context("spawn").Queue()
process = child(read_all, [reading for reading, _ in pipes], answers)
print(answers.get(timeout=20) == list(range(40)), process.pid in ready)
process.join()
"""
    assert printed(code) == "True True\n"


def test_the_names_of_variables_that_are_read_at_a_start(monkeypatch):
    for name in (*os.environ, *STARTED_WITH):
        monkeypatch.delenv(name, raising=False)
    for name in (*STARTED_WITH, "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "DASK_X"):
        monkeypatch.setenv(name, "1")
    assert set(spare.read_at_start()) == {
        "PYTHONHASHSEED",
        "MALLOC_TRIM_THRESHOLD_",
        "LD_LIBRARY_PATH",
        "OMP_NUM_THREADS",
    }

"""A scheduler imports its dashboard at the first request for one of its pages; real schedulers, in own processes."""

import json
import subprocess
import sys
from pathlib import Path

from gateway.as_user import dashboard

START = f"""
import asyncio, json, re, sys
sys.path.insert(0, {str(Path(dashboard.__file__).parents[2])!r})
from gateway.as_user import dashboard
if IS_LATE: dashboard.import_late()
from distributed import Scheduler
from tornado.httpclient import AsyncHTTPClient

async def get(path):
    found = await AsyncHTTPClient().fetch(base + path, raise_error=False, request_timeout=240)
    return found.code, found.body.decode()

async def main():
    global base
    async with Scheduler(dashboard_address="127.0.0.1:0", host="127.0.0.1", port=0, http_prefix=PREFIX) as scheduler:
        base = f"http://127.0.0.1:{{scheduler.http_server.port}}"
        print(json.dumps(await walk(scheduler)))

async def walk(scheduler):
"""


def seen(walk, prefix="", before="", is_late=True):
    """Return the value of that body of a function of a scheduler, and its log."""
    indented = "\n".join(f"    {line}" for line in walk.splitlines())
    program = f"{before}\nIS_LATE, PREFIX = {is_late}, {prefix!r}\n{START}{indented}\nasyncio.run(main())\n"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1]), ended.stderr


WALK = r"""
others = [(await get(path))[0] for path in (PREFIX + "/health", PREFIX + "/metrics")]
before = "bokeh" in sys.modules
pages = await asyncio.gather(*(get(PREFIX + path) for path in ("/status", "/tasks", "/", "/no-such-page")))
document = re.sub(r"[0-9a-f-]{36}|:[0-9]+|\bp[0-9]+\b", "", re.sub("eyJ[^']*", "", pages[0][1]))
return before, [others, [code for code, _ in pages], document]
"""


# The document is compared without tokens, ports and the ids of bokeh's models: one counter numbers the models of all
# pages that are made at the same time.
def test_the_first_request_imports_the_dashboard_and_gets_its_page():
    (is_imported, answers), _ = seen(WALK, "/user/alice")
    (is_stock_imported, stock), _ = seen(WALK, "/user/alice", is_late=False)
    assert (is_imported, is_stock_imported) == (False, True)
    assert answers == stock
    assert answers[1][:2] == [200, 200]


def test_the_scheduler_works_while_it_imports_the_dashboard():
    walk = """
page, answers = asyncio.ensure_future(get("/status")), 0
while not page.done():
    answers += (await get("/health"))[0] == 200
return answers, (await page)[0], len(scheduler.http_application.applications)
"""
    (answers, page, applications), _ = seen(walk)
    # An import on the event loop lets at most those through that were under way.
    assert answers > 10
    assert (page, applications) == (200, 1)


def test_a_bokeh_that_fails_is_asked_for_on_the_page():
    (code, page), log = seen(
        'return await get("/status")', before="import sys; sys.modules['bokeh.application'] = None"
    )
    assert code == 200
    assert "Dask needs bokeh" in page
    assert "The dashboard can't be imported" in log


def test_without_bokeh_distributed_asks_for_it_itself():
    hide = "import sys, importlib.util as util; find = util.find_spec; sys.modules['bokeh'] = None\n"
    hide += "util.find_spec = lambda name, *rest: None if name == 'bokeh' else find(name, *rest)"
    (page, applications), _ = seen(
        'return (await get("/status"))[1], len(scheduler.http_application.applications)', before=hide
    )
    assert "Dask needs bokeh" in page
    assert applications == 0

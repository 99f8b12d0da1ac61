"""The short pages that a visitor of a dashboard sees in place of the dashboard. Pure but for aiohttp's types."""

from html import escape

from aiohttp import web

REFUSED = "There is no dashboard at this address that you may see. A dashboard opens to the owner of its cluster."
NO_LOGIN = (
    "A dashboard needs a login. Open the address in a browser, or send the header 'Authorization: token TOKEN'"
    " with a JupyterHub token."
)
UNKNOWN_TOKEN = "JupyterHub does not know the token, or the token may not use this gateway: request a new one."  # noqa: S105
TOO_MANY = "Too many unknown tokens came from your address: try again in a minute."
STALE = "This login has expired, or another browser began it. Open the dashboard's address again."
HUB_REFUSES = "JupyterHub has not logged you in. Open the dashboard's address again."
HUB_UNAVAILABLE = "The gateway can't reach JupyterHub to log you in: try again in a minute."


def page(status: int, sentence: str) -> web.Response:
    """Return a page with one sentence."""
    text = f"<!doctype html><title>Dask Gateway</title><p>{escape(sentence)}</p>\n"
    return web.Response(status=status, text=text, content_type="text/html", headers={"Cache-Control": "no-store"})

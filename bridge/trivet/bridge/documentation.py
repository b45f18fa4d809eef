"""The documentation page: one HTML file that draws `/openapi.json` and loads nothing else."""

from functools import cache
from importlib import resources

from aiohttp import web

from trivet.bridge.request import Request


async def page(request: Request) -> web.Response:
    """The page. It needs no key; trying a call out does."""
    headers = {
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
    }
    return web.Response(text=_html(), content_type="text/html", headers=headers)


@cache
def _html() -> str:
    return resources.files("trivet.bridge").joinpath("documentation.html").read_text("utf-8")

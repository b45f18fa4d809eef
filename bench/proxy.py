"""The floor of the benchmark: a proxy that copies bytes and knows nothing. `python -m bench.proxy PORT UPSTREAM`.

It is made of what Trivet is made of, aiohttp on uvloop, and has everything off that can be. It is a strict floor: it does not check
keys, look into a body, choose an upstream, limit, log, count or store anything, and no error of its own has a form.
"""

import sys
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

UPSTREAM = web.AppKey("UPSTREAM", aiohttp.ClientSession)
HEADERS = {"Content-Type": "application/json"}


async def upstream(app: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(sys.argv[2], connector=aiohttp.TCPConnector(limit=0)) as session:
        app[UPSTREAM] = session
        yield


async def forward(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    async with request.app[UPSTREAM].post(request.path, data=body, headers=HEADERS) as answer:
        if answer.content_type != "text/event-stream":
            return web.Response(body=await answer.read(), content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        async for data in answer.content.iter_any():
            await response.write(data)
        await response.write_eof()
        return response


if __name__ == "__main__":
    uvloop.install()
    app = web.Application(client_max_size=2**30)
    app.cleanup_ctx.append(upstream)
    app.router.add_post("/{path:.*}", forward)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)

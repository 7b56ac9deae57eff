"""Headless Chromium for the tests of pages, by the DevTools protocol."""

import asyncio
import json
import re
import shutil
import tempfile
from contextlib import asynccontextmanager

import aiohttp
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--remote-debugging-port=0",
    # The finished page needs no network, so there is none.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)

needed = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]
"""Marks of a test that opens a page."""


class Tab:
    """A page in a browser, by the DevTools protocol; remembers what it complained of."""

    def __init__(self, socket):
        self.socket, self.session, self.sent, self.complaints = socket, None, 0, []

    async def send(self, method, **params):
        self.sent += 1
        number = self.sent
        message = {"id": number, "method": method, "params": params}
        await self.socket.send_json(message | ({"sessionId": self.session} if self.session else {}))
        while True:
            answer = json.loads((await self.socket.receive()).data)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._listen(answer.get("method"), answer.get("params", {}))

    def _listen(self, event, params):
        wrong = {"error", "warning", "assert"}
        if (
            event == "Runtime.exceptionThrown"
            or (event == "Runtime.consoleAPICalled" and params["type"] in wrong)
            or (event == "Log.entryAdded" and params["entry"]["level"] in wrong)
        ):
            self.complaints.append(params)

    async def ask(self, expression):
        """Return what an expression of the page's becomes."""
        result = await self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def wait_for(self, expression):
        for _ in range(600):
            if await self.ask(expression):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{expression} stays false; the page says {await self.words()!r}")

    async def words(self):
        return await self.ask("document.body?.innerText")


@asynccontextmanager
async def browser(kind):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            CHROMIUM,
            *FLAGS,
            f"--user-data-dir={profile}",
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async for line in process.stderr:
                if found := re.search(rb"ws://\S+", line):
                    break
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(found[0].decode(), max_msg_size=0) as socket,
            ):
                tab = kind(socket)
                target = await tab.send("Target.createTarget", url="about:blank")
                attached = await tab.send("Target.attachToTarget", flatten=True, **target)
                tab.session = attached["sessionId"]
                for domain in ("Runtime", "Log", "Page"):
                    await tab.send(f"{domain}.enable")
                yield tab
                assert not tab.complaints
        finally:
            process.kill()
            await process.wait()


def look(visit, kind=Tab):
    """Run what looks at a page, in a browser of its own."""

    async def run():
        async with browser(kind) as tab:
            await asyncio.wait_for(visit(tab), 200)

    asyncio.run(run())

"""What stands for W&B's server: it answers as if all were well, and keeps what it is sent."""

import gzip
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

USER = {"id": "u", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
PROJECT = {"id": "p", "name": "vae_lab", "entity": {"id": "e", "name": "me"}}
BUCKET = {"id": "UnVu", "name": "run", "config": "{}", "historyLineCount": 0, "project": PROJECT}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def parse_request(self):
        # What was connected stays so until it is next asked for something.
        return super().parse_request() and not self.server.unplugged

    def do_POST(self):
        sent = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.headers["Content-Encoding"] == "gzip":
            sent = gzip.decompress(sent)
        self.server.posted.append((self.path, sent))
        self.reply({"data": self.answer(**json.loads(sent))} if "graphql" in self.path else {})

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.files.append(self.path.removeprefix("/up/"))
        self.reply({})

    def reply(self, what):
        text = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def answer(self, query, variables=None, **_):
        if "createRunFiles" in query:
            address = f"http://127.0.0.1:{self.server.server_port}/up/"
            files = [{"name": n, "uploadUrl": address + n} for n in variables["files"]]
            return {"createRunFiles": {"runID": "UnVu", "uploadHeaders": [], "files": files}}
        if "upsertBucket" in query:
            bucket = BUCKET | {"name": variables["name"], "displayName": variables["name"]}
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        return {"viewer": USER} if "viewer" in query else {"model": {"bucket": None}}


@contextmanager
def server():
    """Run it; its `posted` are addresses and bodies, its `files` the names of what was uploaded."""
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.posted, running.files, running.unplugged = [], [], False
    Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield running
    finally:
        unplug(running)


def unplug(running):
    running.unplugged = True
    running.shutdown()
    running.server_close()

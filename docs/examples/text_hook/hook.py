"""A text hook: python hook.py PORT TOKEN. Needs Python 3.9 or newer. docs/hook.md explains it."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

token = sys.argv[2]


def decide(text):
    if "buy now" in text.lower():
        return {"action": "refuse", "reason": "No advertising, please."}
    if "damn" in text:
        return {"action": "rewrite", "text": text.replace("damn", "****")}
    return {"action": "pass"}


class Hook(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open
    disable_nagle_algorithm = True  # answers leave at once

    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = self.headers["Authorization"] == "Bearer " + token
        body = json.dumps(decide(question["text"])).encode() if known else b""
        self.send_response(200 if known else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass  # texts are nobody's business


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Hook)
print("serving on", server.server_port, flush=True)
server.serve_forever()

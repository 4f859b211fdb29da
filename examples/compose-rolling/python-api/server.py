"""The example's python-api: answers with its version; /slow takes three seconds."""
import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = os.environ.get("VERSION", "1")
BROKEN = os.environ.get("BROKEN", "")
READY_AT = time.monotonic() + int(os.environ.get("BOOT_MS", "1500")) / 1000


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if time.monotonic() < READY_AT or (self.path == "/health" and BROKEN):
            return self.send(503, b"not ready\n")
        if self.path.startswith("/slow"):
            time.sleep(3)
        text = json.dumps({"version": VERSION, "method": self.command, "bytes": len(body)}) + "\n"
        return self.send(200, text.encode())

    def send(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True


server = Server(("0.0.0.0", int(os.environ.get("PORT", "5001"))), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()

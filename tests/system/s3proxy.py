#!/usr/bin/env python3
"""A proxy that misbehaves on request, between phrd and an S3 server. Standard library only.

    with s3proxy.Proxy(upstream_port) as proxy:
        proxy.fault("PUT", "reset_after", times=1)     # the next PUT is applied, its answer is lost
        url = cluster.store_url("b", endpoint=proxy.endpoint)

Signatures stay valid, since Host passes unchanged: so the client must be told to send the
upstream's. phrd signs the Host of its endpoint; radosgw and Swift accept any Host.

Faults, each for the next `times` requests of a method whose path contains `match`:
    reset_before   the connection is reset before anything is forwarded
    reset_after    forwarded and applied, then reset: the answer is lost
    slow_down      503 with Retry-After: 1, nothing forwarded
    error_200      200 with an Error document in its body, nothing forwarded
    redirect       307 to another host
    truncate       half of the answer's body, then the end
    bit_flip       one bit of the answer's body is another
    change_upload  one bit of the request's body is another
    hang           nothing, until the client has enough (or 120 s)
    drip           the answer, a byte every 50 ms
    stale_list     the answer to a list is an empty list
"""
import argparse
import contextlib
import http.client
import socket
import socketserver
import struct
import sys
import threading
import time

FAULTS = ("reset_before", "reset_after", "slow_down", "error_200", "redirect", "truncate",
          "bit_flip", "change_upload", "hang", "drip", "stale_list")
HANG_S = 120
BODY_MAX = 256 << 20
EMPTY_LIST = (b'<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated>'
              b"</ListBucketResult>")


class Proxy:
    """Started by `with`; its own threads, ended with it."""

    def __init__(self, upstream_port, port=0):
        self.upstream_port = upstream_port
        self._lock = threading.Lock()
        self._faults = []
        self.seen = []  # (method, path, status or name of the fault)
        self.is_ending = threading.Event()
        self.is_down = False
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                    outer._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.is_ending.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def fault(self, method, name, times=1, match=""):
        if name not in FAULTS:
            raise ValueError(f"no fault of that name: {name}")
        with self._lock:
            self._faults.append([method, match, name, times])

    def clear(self):
        with self._lock:
            self._faults.clear()

    def count(self, what):
        """How many requests ended with this status or fault."""
        with self._lock:
            return sum(1 for _, _, result in self.seen if result == what)

    def _take(self, method, path):
        with self._lock:
            for fault in self._faults:
                if fault[0] in (method, "*") and fault[1] in path and fault[3] > 0:
                    fault[3] -= 1
                    return fault[2]
        return None

    def _note(self, method, path, result):
        with self._lock:
            self.seen.append((method, path, result))

    def _serve(self, client):
        client.settimeout(HANG_S)
        reader = client.makefile("rb")
        while not self.is_ending.is_set():
            line = reader.readline(65536)
            if not line:
                return
            method, path, _ = line.decode("latin-1").split(" ", 2)
            headers = []
            while (line := reader.readline(65536)) not in (b"\r\n", b"\n", b""):
                name, _, value = line.decode("latin-1").partition(":")
                headers.append((name.strip(), value.strip()))
            fault = self._take(method, path)
            if self.is_down or fault == "reset_before":
                self._note(method, path, fault or "down")
                return reset(client)
            length = int(dict((n.lower(), v) for n, v in headers).get("content-length", "0"))
            if length > BODY_MAX:
                return reset(client)
            body = reader.read(length)
            if not self._answer(client, method, path, headers, body, fault):
                return

    def _answer(self, client, method, path, headers, body, fault):
        """True when the connection may go on."""
        if fault == "hang":
            self._note(method, path, fault)
            self.is_ending.wait(HANG_S)
            return False
        if fault in ("slow_down", "error_200", "redirect", "stale_list"):
            self._note(method, path, fault)
            client.sendall(canned(fault))
            return True
        if fault == "change_upload" and body:
            body = flip(body)
        status, reason, answer_headers, answer = self._forward(method, path, headers, body)
        self._note(method, path, fault or status)
        if fault == "reset_after":
            reset(client)
            return False
        if fault == "bit_flip" and answer:
            answer = flip(answer)
        head = f"HTTP/1.1 {status} {reason}\r\n" + "".join(f"{n}: {v}\r\n" for n, v in answer_headers)
        if not any(n.lower() == "content-length" for n, _ in answer_headers):
            head += f"Content-Length: {len(answer)}\r\n"
        client.sendall(head.encode("latin-1") + b"\r\n")
        if fault == "truncate":
            client.sendall(answer[:len(answer) // 2])
            client.shutdown(socket.SHUT_RDWR)
            return False
        if fault == "drip":
            for at in range(len(answer)):
                client.sendall(answer[at:at + 1])
                time.sleep(0.05)
            return True
        if method != "HEAD":
            client.sendall(answer)
        return True

    def _forward(self, method, path, headers, body):
        upstream = http.client.HTTPConnection("127.0.0.1", self.upstream_port, timeout=HANG_S)
        with contextlib.closing(upstream):
            upstream.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                if name.lower() not in ("connection", "expect"):
                    upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            kept = [(n, v) for n, v in answer.getheaders()
                    if n.lower() not in ("transfer-encoding", "connection", "content-length")]
            data = answer.read()
            if method == "HEAD":
                kept.append(("Content-Length", answer.getheader("Content-Length", "0")))
            return answer.status, answer.reason, kept, data


def flip(data):
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


def reset(client):
    """RST instead of FIN."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def canned(fault):
    if fault == "slow_down":
        body = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
        head = "503 Slow Down\r\nRetry-After: 1"
    elif fault == "redirect":
        body = b"<Error><Code>TemporaryRedirect</Code></Error>"
        head = "307 Temporary Redirect\r\nLocation: http://127.0.0.2:9/elsewhere"
    elif fault == "stale_list":
        body, head = EMPTY_LIST, "200 OK"
    else:
        body, head = b"<Error><Code>InternalError</Code></Error>", "200 OK"
    return f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def main():
    parser = argparse.ArgumentParser(description="Forwards to an S3 server on this machine; faults as given.")
    parser.add_argument("upstream_port", type=int)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--fault", action="append", default=[], metavar="METHOD:NAME:TIMES")
    args = parser.parse_args()
    with Proxy(args.upstream_port, args.port) as proxy:
        for fault in args.fault:
            method, name, times = fault.split(":")
            proxy.fault(method, name, int(times))
        print(proxy.endpoint, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
    return 0


if __name__ == "__main__":
    sys.exit(main())

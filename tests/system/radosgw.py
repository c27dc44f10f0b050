#!/usr/bin/env python3
"""A real S3 server for tests: Ceph's radosgw over one monitor and one OSD in memory, from Debian.

    with radosgw.Cluster() as s3:                      # about a second
        url = s3.store_url("bucket-name")              # made, for [store] url
        s3.credentials_file                            # for [store] credentials

As a command it stays until Ctrl-C or SIGTERM and prints what phr.conf needs:

    tests/system/radosgw.py --bucket phr [--tls] [--port 7480]

Everything listens on 127.0.0.1 and lies in a temporary directory. The objects are in the OSD's
memory: they end with it. Only the standard library is used.
"""
import argparse
import contextlib
import datetime
import hashlib
import hmac
import http.client
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import uuid

PROGRAMS = ("radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "monmaptool")
START_S = 60
STOP_S = 10

# What makes it start in under a second instead of fourteen, and run without any account:
# the mon connection must be told `crc`, else radosgw waits for ever.
CONFIG = """\
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon_port}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
ms mon service mode = crc
ms mon cluster mode = crc
paxos propose interval = 0.02
paxos min wait = 0.01
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail warn = 1
mon data avail crit = 1
run dir = {dir}/run
log file = {dir}/log/$name.log
admin socket = {dir}/run/$name.asok
pid file = {dir}/run/$name.pid
[mon.a]
mon data = {dir}/mon.a
mon initial members = a
[osd]
osd data = {dir}/osd.$id
osd objectstore = memstore
memstore device bytes = {bytes}
[client.rgw.a]
rgw data = {dir}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port}{tls}
rgw enable usage log = false
rgw enable ops log = false
"""


class Unavailable(Exception):
    """It cannot run here; the text says what is missing."""


def is_installed():
    return not missing()


def missing():
    return [program for program in PROGRAMS if not shutil.which(program)]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Cluster:
    """Started by `with`, or by start() and stop()."""

    def __init__(self, port=0, tls=False, size=4 << 30):
        self.port = port or free_port()
        self.mon_port = free_port()
        self.access_key = secrets.token_hex(10).upper()
        self.secret_key = secrets.token_hex(20)
        self.region = "us-east-1"
        self.is_tls = tls
        self.tls_port = free_port() if tls else None
        self.size = size
        self.dir = None
        self.credentials_file = None
        self.ca_file = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def endpoint(self):
        return f"https://localhost:{self.tls_port}" if self.is_tls else f"http://127.0.0.1:{self.port}"

    def store_url(self, bucket, prefix="", endpoint=None):
        """[store] url for a bucket, which is made when it is not there yet."""
        self.make_bucket(bucket)
        return f"s3://{bucket}/{prefix}?endpoint={endpoint or self.endpoint}&region={self.region}"

    def start(self):
        if missing():
            raise Unavailable("not installed: " + ", ".join(missing()))
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="rgw-"))
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self):
        fsid, osd_id = uuid.uuid4(), uuid.uuid4()
        for name in ("mon.a", "osd.0", "rgw", "run", "log"):
            (self.dir / name).mkdir()
        tls = ""
        if self.is_tls:
            self._make_certificate()
            tls = (f" ssl_endpoint=127.0.0.1:{self.tls_port} ssl_certificate={self.dir}/cert.pem"
                   f" ssl_private_key={self.dir}/key.pem")
        conf = self.dir / "ceph.conf"
        conf.write_text(CONFIG.format(fsid=fsid, mon_port=self.mon_port, dir=self.dir,
                                      bytes=self.size, port=self.port, tls=tls))
        monmap = self.dir / "monmap"
        self._run("monmaptool", "--create", "--fsid", str(fsid), "--addv", "a",
                  f"[v2:127.0.0.1:{self.mon_port}]", str(monmap))
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", str(monmap))
        self._run("ceph-mon", "-i", "a")
        self._run("ceph", "osd", "new", str(osd_id), "0")
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", str(osd_id))
        self._run("ceph-osd", "-i", "0")
        self._run("radosgw-admin", "-n", "client.rgw.a", "user", "create", "--uid=ci",
                  "--display-name=ci", f"--access-key={self.access_key}", f"--secret-key={self.secret_key}")
        self._start_gateway()
        self.credentials_file = str(self.dir / "credentials")
        with open(os.open(self.credentials_file, os.O_WRONLY | os.O_CREAT, 0o600), "w",
                  encoding="ascii") as out:
            out.write(f"access_key={self.access_key}\nsecret_key={self.secret_key}\n")

    def _start_gateway(self):
        self._run("radosgw", "-n", "client.rgw.a")
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            time.sleep(0.05)
        raise Unavailable("radosgw did not open its port")

    def _run(self, *args):
        done = subprocess.run([args[0], "-c", str(self.dir / "ceph.conf"), *args[1:]]
                              if args[0] != "monmaptool" else args, capture_output=True, text=True,
                              timeout=START_S, check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise Unavailable(f"{args[0]} failed: {done.stderr.strip()[-500:]}")
        return done.stdout

    def _make_certificate(self):
        if not shutil.which("openssl"):
            raise Unavailable("not installed: openssl")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                        "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                        "-keyout", str(self.dir / "key.pem"), "-out", str(self.dir / "cert.pem")],
                       check=True, capture_output=True, timeout=30)
        self.ca_file = str(self.dir / "cert.pem")

    def pid(self, name):
        """Of client.rgw.a, osd.0 or mon.a; None when it does not run."""
        with contextlib.suppress(OSError, ValueError):
            return int((self.dir / "run" / f"{name}.pid").read_text())
        return None

    def kill_gateway(self, number=signal.SIGKILL):
        pid = self.pid("client.rgw.a")
        if pid:
            os.kill(pid, number)
            if number in (signal.SIGKILL, signal.SIGTERM):
                self._wait_gone(pid)

    def restart_gateway(self):
        self._start_gateway()

    def stop(self):
        """The gateway first, each by its own pid; then the directory."""
        if not self.dir:
            return
        for name in ("client.rgw.a", "osd.0", "mon.a"):
            pid = self.pid(name)
            if pid and self._is_ours(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
                    os.kill(pid, signal.SIGTERM if name != "osd.0" else signal.SIGKILL)
                if not self._wait_gone(pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    self._wait_gone(pid)
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir = None

    def _is_ours(self, pid):
        with contextlib.suppress(OSError):
            return str(self.dir).encode() in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
        return False

    @staticmethod
    def _wait_gone(pid):
        end = time.monotonic() + STOP_S
        while time.monotonic() < end:
            try:
                state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                return True
            if state == "Z":
                return True
            time.sleep(0.02)
        return False

    # A second signer, in another language than the one that is tested.
    def request(self, method, path, body=b"", query=None, secret=None):
        """(status, body) of one signed request to the gateway itself."""
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        day, scope = now[:8], f"{now[:8]}/{self.region}/s3/aws4_request"
        digest = hashlib.sha256(body).hexdigest()
        path = urllib.parse.quote(path, safe="/-_.~")
        text = "&".join(f"{urllib.parse.quote(k, safe='-_.~')}={urllib.parse.quote(v, safe='-_.~')}"
                        for k, v in sorted((query or {}).items()))
        host = f"127.0.0.1:{self.port}"
        canonical = "\n".join([method, path, text, f"host:{host}", f"x-amz-content-sha256:{digest}",
                               f"x-amz-date:{now}", "", "host;x-amz-content-sha256;x-amz-date", digest])
        to_sign = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = f"AWS4{secret or self.secret_key}".encode()
        for part in (day, self.region, "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path + (f"?{text}" if text else ""), body, {
                "Host": host, "x-amz-date": now, "x-amz-content-sha256": digest,
                "Authorization": f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope},"
                                 f"SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature={signature}"})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def make_bucket(self, bucket):
        status, text = self.request("PUT", f"/{bucket}")
        if status not in (200, 409):
            raise Unavailable(f"bucket {bucket}: {status} {text[:200]}")


def main():
    parser = argparse.ArgumentParser(description="A radosgw for trying phrfs on S3; ends with Ctrl-C.")
    parser.add_argument("--bucket", default="phr")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", action="store_true")
    args = parser.parse_args()
    if missing():
        print("skipped: not installed: " + ", ".join(missing()) +
              " (Debian: ceph-mon ceph-osd ceph-common radosgw)")
        return 77
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Cluster(args.port, args.tls) as s3:
        print(f"[store]\nurl = {s3.store_url(args.bucket)}\ncredentials = {s3.credentials_file}", flush=True)
        if s3.ca_file:
            print(f"ca_file = {s3.ca_file}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""The S3 side against a real server (radosgw) and through a proxy that misbehaves.

What holds after every fault: what was said to be stored is there with the right bytes, nobody
else's object was overwritten, and nothing that failed a check was handed out.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import radosgw
import s3proxy

BUCKET = "phr-objstore"
KEY = "p/00112233445566778899aabbccddeeff/o/k"


class Failed(Exception):
    pass


def expect(what, holds, detail=""):
    if not holds:
        raise Failed(f"{what}: {detail}")
    print(f"ok {what}", flush=True)


class Try:
    """objstore_try with one endpoint."""

    def __init__(self, program, cluster, scratch, endpoint=None, bucket=BUCKET):
        self.program, self.scratch = program, scratch
        self.url = cluster.store_url(bucket, "pre/fix", endpoint)
        self.options = ["--credentials", cluster.credentials_file]

    def __call__(self, *args, options=(), timeout=90):
        done = subprocess.run([self.program, *self.options, *options, self.url, *map(str, args)],
                              capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode not in (0, 1):
            raise Failed(f"objstore_try {args}: exit {done.returncode} {done.stdout} {done.stderr}")
        return done.stdout.strip()

    def file(self, name, content):
        path = self.scratch / name
        path.write_bytes(content)
        return path

    def content(self, key):
        path = self.scratch / "got"
        answer = self("get", key, path)
        return path.read_bytes() if answer.startswith("ok") else answer


def test_basics(t, _cluster):
    one = t.file("one", os.urandom(300_000))
    other = t.file("other", b"other content")
    empty = t.file("empty", b"")
    expect("probe", t("probe").startswith("ok"))
    expect("put", t("put", KEY, one).startswith("ok"))
    expect("get is the same", t.content(KEY) == one.read_bytes())
    expect("put again is no fault", t("put", KEY, one).startswith("ok"))
    expect("an empty object", t("put", KEY + "0", empty).startswith("ok") and t.content(KEY + "0") == b"")
    for how in ("put", "put-sole"):
        answer = t(how, KEY, other)
        expect(f"{how} of other content is a fork", answer.startswith("PHR_E_FORK item"), answer)
    expect("and nothing was overwritten", t.content(KEY) == one.read_bytes())
    expect("absent is ENOENT", t("get", KEY + "-none", t.scratch / "x").startswith("ENOENT"))
    answer = t("put", KEY + "t", one, options=["--tamper"])
    expect("a file that changed is not stored", answer.startswith("PHR_E_SEAL item"), answer)
    expect("not even in part", t("get", KEY + "t", t.scratch / "x").startswith("ENOENT"))


def test_list(t, cluster):
    small = t.file("small", b"x")
    keys = [f"l/{n:020d}" for n in range(7)]
    for key in reversed(keys):
        t("put", key, small)
    for n in range(1100):  # a second page; by the judge's own signer, which is quicker
        cluster.request("PUT", f"/{BUCKET}/pre/fix/m/{n:06d}", b"y")
    cluster.request("PUT", f"/{BUCKET}/pre/fix/m/Not Ours", b"y")
    lines = t("list", "l/").splitlines()
    expect("list is in order", lines[:-1] == keys and lines[-1].startswith("ok"), lines[:9])
    lines = t("list", "m/").splitlines()
    expect("list has pages, and only names of ours", len(lines) == 1101 and lines[0] == "m/000000"
           and lines[1099] == "m/001099", (len(lines), lines[-2:]))
    expect("an empty list", t("list", "nothing/").startswith("ok"))


def test_refusals(t, cluster):
    one = t.file("one", b"content of refusals")
    bad = t.scratch / "bad-credentials"
    bad.write_text(f"access_key={cluster.access_key}\nsecret_key={'0' * 40}\n")
    bad.chmod(0o600)
    answer = t("put", "r/1", one, options=["--credentials", str(bad)])
    expect("wrong secret: all waits, and says why",
           answer.startswith("PHR_E_STORE store 403 ") and "SignatureDoesNotMatch" in answer, answer)
    bad.write_text(f"access_key=NOBODY\nsecret_key={cluster.secret_key}\n")
    answer = t("put", "r/1", one, options=["--credentials", str(bad)])
    expect("unknown key", answer.startswith("PHR_E_STORE store 403 ") and "InvalidAccessKeyId" in answer, answer)
    bad.chmod(0o644)
    expect("a readable credentials file is refused", "chmod 600" in t("probe", options=["--credentials", str(bad)]))
    for skew in (-1200, 1200):
        answer = t("put", "r/1", one, options=["--skew", str(skew), "--no-learn"])
        expect(f"clock wrong by {skew} s is refused and named",
               answer.startswith("PHR_E_STORE store 403 ") and "clock" in answer, answer)
        answer = t("put", f"r/learnt{skew}", one, options=["--skew", str(skew)])
        expect("and learnt from the server", answer.startswith("ok"), answer)
    elsewhere = t.url.replace(BUCKET, "no-such-bucket")
    done = subprocess.run([t.program, *t.options, elsewhere, "put", "r/1", one], capture_output=True,
                          text=True, timeout=60, check=False)
    expect("no bucket: the store's fault, not the object's",
           done.stdout.startswith("PHR_E_STORE store 404 ") and "bucket" in done.stdout, done.stdout)
    expect("nothing of it was stored", t("get", "r/1", t.scratch / "x").startswith("ENOENT"))


def test_faults(t, proxy):
    one = t.file("one", os.urandom(100_000))
    other = t.file("other", os.urandom(100_000))
    proxy.fault("PUT", "reset_before")
    answer = t("put", "f/1", one)
    expect("reset before: try again", answer.startswith("PHR_E_STORE store 0 "), answer)
    expect("the next try stores", t("put", "f/1", one).startswith("ok"))
    for how in ("put", "put-sole"):
        proxy.fault("PUT", "reset_after")
        answer = t(how, f"f/2{how}", one)
        # put-sole has asked before, on the same connection: there libcurl itself tries again.
        expect(f"{how}, answer lost: try again, or found",
               answer.startswith("PHR_E_STORE store 0 ") or (how == "put-sole" and answer.startswith("ok")), answer)
        expect("the next try finds its own", t(how, f"f/2{how}", one).startswith("ok"))
        expect("and other content is still a fork", t(how, f"f/2{how}", other).startswith("PHR_E_FORK"))
    proxy.fault("PUT", "slow_down")
    answer = t("put", "f/3", one)
    expect("503: the store's fault", answer.startswith("PHR_E_STORE store 503 ") and "SlowDown" in answer, answer)
    proxy.fault("PUT", "error_200")
    answer = t("put", "f/3", one)
    expect("200 with an Error is no success", answer.startswith("PHR_E_STORE store 200 "), answer)
    proxy.fault("PUT", "redirect")
    answer = t("put", "f/3", one)
    expect("a redirect is not followed", "redirects" in answer and answer.startswith("PHR_E_STORE store 307"), answer)
    proxy.fault("PUT", "change_upload")
    answer = t("put", "f/3", one)
    expect("a changed body is refused by the server, and we say so",
           answer.startswith("PHR_E_STORE way 400 ") and "other bytes arrived" in answer, answer)
    expect("and not stored", t("get", "f/3", t.scratch / "x").startswith("ENOENT"))
    expect("put", t("put", "f/3", one).startswith("ok"))
    proxy.fault("GET", "truncate")
    answer = t("get", "f/3", t.scratch / "x")
    expect("a truncated answer is none", answer.startswith("PHR_E_STORE store"), answer)
    proxy.fault("GET", "hang")
    begin = time.monotonic()
    answer = t("get", "f/3", t.scratch / "x")
    expect("a hanging server ends with our time", answer.startswith("PHR_E_STORE store")
           and time.monotonic() - begin < 8, answer)
    proxy.fault("GET", "redirect")
    expect("get: no redirect either", "redirects" in t("get", "f/3", t.scratch / "x"))
    proxy.clear()
    proxy.is_down = True
    answer = t("probe")
    expect("a store that is away is said to be", answer.startswith("PHR_E_STORE store 0 "), answer)
    proxy.is_down = False


def queue(t, *args):
    scratch = pathlib.Path(tempfile.mkdtemp(dir=t.scratch))
    lines = t(args[0], scratch, *args[1:]).splitlines()
    return lines[0], json.loads(lines[1])


def test_queue(t, proxy):
    words, status = queue(t, "queue", 40, 5000)
    expect("forty objects", words == "stored 40 refused 0 other 0" and status["store"]["state"] == "ok", (words, status))
    proxy.fault("PUT", "reset_before", 2)
    proxy.fault("PUT", "slow_down", 1)
    proxy.fault("PUT", "reset_after", 2)
    proxy.fault("PUT", "error_200", 1)
    proxy.fault("PUT", "change_upload", 2)
    words, status = queue(t, "queue", 30, 5000)
    expect("thirty through eight faults", words == "stored 30 refused 0 other 0", (words, status))
    proxy.clear()
    words, status = queue(t, "park", 20)
    expect("one poisoned object is parked, nineteen go", words == "stored 19 refused 1 other 0", words)
    expect("and reported in words", len(status["parked"]) == 1 and status["queue"]["parked"] == 1
           and "not what their name says" in status["parked"][0]["words"]
           and "7" * 8 not in json.dumps(status["parked"]), status)
    proxy.is_down = True
    threading.Timer(3, setattr, (proxy, "is_down", False)).start()
    words, status = queue(t, "queue", 10, 5000)
    expect("an outage of three seconds", words == "stored 10 refused 0 other 0", (words, status))
    expect("its error is remembered", status["store"]["last_error"] != "", status)


def test_server_dies(t, cluster):
    threading.Timer(0.3, cluster.kill_gateway).start()
    threading.Timer(2.5, cluster.restart_gateway).start()
    words, _ = queue(t, "queue", 200, 20000)
    expect("kill -9 of the server in the middle", words == "stored 200 refused 0 other 0", words)
    threading.Timer(0.2, cluster.kill_gateway, (signal.SIGSTOP,)).start()
    threading.Timer(3, cluster.kill_gateway, (signal.SIGCONT,)).start()
    words, _ = queue(t, "queue", 200, 20000)
    expect("a server that hangs for three seconds", words == "stored 200 refused 0 other 0", words)


def test_tls(program, cluster, scratch):
    t = Try(program, cluster, scratch)
    one = t.file("one", os.urandom(1000))
    answer = t("put", "tls/1", one)
    expect("an unknown certificate is refused", answer.startswith("PHR_E_STORE store 0 ")
           and ("ertificate" in answer or "SSL" in answer), answer)
    t.options += ["--ca", cluster.ca_file]
    expect("ca_file is one more anchor", t("put", "tls/1", one).startswith("ok"))
    expect("over TLS", t.content("tls/1") == one.read_bytes())
    t.url = t.url.replace("localhost", "127.0.0.3")
    expect("a name that is not the certificate's is refused", t("probe").startswith("PHR_E_STORE"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=pathlib.Path)
    args = parser.parse_args()
    if radosgw.missing():
        print("skipped: not installed: " + ", ".join(radosgw.missing()) + " (Debian: ceph-mon ceph-osd radosgw)")
        return 77
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="objstore-"))
    try:
        with radosgw.Cluster(tls=True) as cluster, s3proxy.Proxy(cluster.port) as proxy:
            test_tls(args.program, cluster, scratch)
            cluster.is_tls = False
            direct = Try(args.program, cluster, scratch)
            through = Try(args.program, cluster, scratch, proxy.endpoint)
            test_basics(direct, cluster)
            test_list(direct, cluster)
            test_refusals(direct, cluster)
            test_faults(through, proxy)
            test_queue(through, proxy)
            test_server_dies(direct, cluster)
    except (Failed, subprocess.TimeoutExpired) as failure:
        print(f"FAILED {failure}")
        return 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

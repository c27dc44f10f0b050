#!/usr/bin/env python3
"""phrd by itself: start and end, its border, outages of the store, kill -9, rebuilding from the bucket.

No mount and no FUSE: phr works on a patient's ledger through phrd, and the bucket (a directory, or
radosgw with --s3) is looked at from outside.
"""
import argparse
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools" / "demo"))
from realm import Failed, Realm, wait_until  # noqa: E402

EPERM, E_PROTOCOL, E_LIMIT = -1, -5030, -5027
EXIT_BUSY, EXIT_FORK, EXIT_STORE = 45, 30, 32
NOBODY = pwd.getpwnam("nobody")


class Bare(Realm):
    """Without a mount: phr and phrd only."""

    def install(self):
        self.bin.mkdir(exist_ok=True)
        for program in ("tools/phr/phr", "src/sidecar/phrd"):
            shutil.copy2(self.build / program, self.bin)

    def start_phrd(self):
        (self.run_dir / "phrd.sock").unlink(missing_ok=True)  # of one that was killed
        super().start_phrd()

def expect(what, holds, detail=""):
    if not holds:
        raise Failed(f"{what}: {detail}")
    print(f"ok {what}", flush=True)


class Connection:
    """Frames by hand, as a stranger would send them."""

    def __init__(self, realm, uid=0):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        old = os.geteuid()
        if uid:  # SO_PEERCRED is what we are at connect
            os.seteuid(uid)
        try:
            self.socket.connect(str(realm.run_dir / "phrd.sock"))
        finally:
            os.seteuid(old)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def ask(self, number, payload=b"", request=1):
        """(status, payload) of the reply; None when the connection was closed."""
        self.socket.sendall(struct.pack("<IHHiQ", len(payload), number, 0, 0, request) + payload)
        return self.answer()

    def answer(self):
        head = self._read(20)
        if head is None:
            return None
        size, _, _, status, _ = struct.unpack("<IHHiQ", head)
        return status, self._read(size)

    def pushed(self):
        """(message, payload) of what phrd says unasked."""
        size, number, _, _, request = struct.unpack("<IHHiQ", self._read(20))
        expect("unasked", request == 0, number)
        return number, self._read(size)

    def _read(self, size):
        data = b""
        while len(data) < size:
            try:
                piece = self.socket.recv(size - len(data))
            except ConnectionResetError:
                return None
            if not piece:
                return None
            data += piece
        return data

    def hello(self, role, host=b"\0" * 16, version=1):
        return self.ask(1, struct.pack("<HB", version, role) + host + struct.pack("<Q", 300))


def status(realm):
    return realm.phr_json("status")["phrd"]


def entries(realm):
    return sorted((realm.home / "bucket").glob("p/*/l/*"))


def drained(realm):
    now = status(realm)
    return now["queue"]["entries"] == 0 and now["store"]["state"] == "ok"


def set_up(realm):
    realm.init()
    realm.start_phrd()
    realm.identity("dr.wilson")
    realm.patient("alice")
    realm.grant("alice/labs", "dr.wilson")


def test_start_and_border(realm):
    second = realm.command([realm.build / "src/sidecar/phrd", "--foreground", "--config", realm.conf], check=False)
    expect("a second phrd is refused by name", second.returncode == EXIT_BUSY
           and str(realm.phrd.pid) in second.stderr, second)
    proc = pathlib.Path(f"/proc/{realm.phrd.pid}/status").read_text()
    expect("it is in its sandbox", "Seccomp:\t2" in proc and "NoNewPrivs:\t1" in proc, proc)
    with Connection(realm) as c:
        expect("nothing before HELLO", c.ask(10)[0] == EPERM)
        expect("another version is refused", c.hello(2, version=9)[0] == E_PROTOCOL)
        expect("a mount has a host", c.hello(1)[0] == E_PROTOCOL)
        expect("a tool is let in", c.hello(2)[0] == 0)
        expect("status", json.loads(c.ask(10)[1])["version"] != "")
        expect("a tool is no mount", c.ask(11, b"\0" * 24)[0] == EPERM)
        expect("too long is refused", c.ask(10, b"x" * 100)[0] == E_LIMIT)
        expect("an object without descriptor is refused", c.ask(8, b"\0" * 64)[0] == E_PROTOCOL)
        expect("unknown is refused", c.ask(4000)[0] == E_PROTOCOL)
    with Connection(realm, NOBODY.pw_uid) as c:
        expect("a stranger is no mount", c.hello(1, b"h" * 16)[0] == EPERM)
        expect("but a tool", c.hello(2)[0] == 0)
        for number, payload in ((16, b""), (18, b"\0" * 8), (19, b"\0" * 16)):
            expect(f"who may not do {number}", c.ask(number, payload)[0] == EPERM)
    for junk in (b"\xff" * 4096, struct.pack("<IHHiQ", 0, 10, 0, 0, 0), struct.pack("<IHHiQ", 1 << 30, 10, 0, 0, 1)):
        with Connection(realm) as c:
            c.socket.sendall(junk)
            expect("broken frames end the connection", c.answer() is None)
    expect("and nothing else", realm.phrd.poll() is None and status(realm)["store"]["state"] == "ok")


def test_mounts(realm):
    patient = bytes.fromhex(entries(realm)[0].parts[-3])
    with Connection(realm) as mount, Connection(realm) as tool:
        expect("root's mount joins", mount.hello(1, b"m" * 16)[0] == 0)
        tool.hello(2)
        expect("and is counted", status(realm)["mounts"] == 1)
        wait = struct.pack("<QI", 1, 100)
        _, answer = tool.ask(12, patient + wait)
        count, host, applied, until = struct.unpack("<H16sBQ", answer)
        expect("who has not applied is named with his time", (count, host, applied) == (1, b"m" * 16, 0)
               and 290 < until - time.time() < 310, answer)
        expect("and asked once more", mount.pushed() == (128, patient + struct.pack("<Q", 1)))
        expect("he applies", mount.ask(11, patient + struct.pack("<Q", 1))[0] == 0)
        begin = time.monotonic()
        _, answer = tool.ask(12, patient + struct.pack("<QI", 1, 5000))
        expect("then nobody waits", answer[18] == 1 and time.monotonic() - begin < 2, answer)
        expect("he is asked all the same", mount.pushed()[0] == 128)
        realm.grant("alice/notes", "dr.wilson")
        number, payload = mount.pushed()
        expect("he is told that the ledger grew", number == 128 and payload[:16] == patient, payload)
        expect("a retry is told to mounts", tool.ask(16)[0] == 0 and mount.pushed() == (16, b""))
    wait_until("the mount to have left", lambda: status(realm)["mounts"] == 0)
    realm.stop_phrd(signal.SIGKILL)
    realm.start_phrd()
    with Connection(realm) as tool:
        tool.hello(2)
        _, answer = tool.ask(12, patient + struct.pack("<QI", 99, 50))
        expect("one that is away is known after kill -9 of phrd", answer[2:18] == b"m" * 16, answer)


def test_checkpoints(realm):
    with Connection(realm) as tool:
        tool.hello(2)
        code, note = tool.ask(14)
        expect("a checkpoint is signed", code == 0 and len(note) > 100, (code, note))
    directory = realm.home / "bucket" / "audit" / "checkpoint"
    wait_until("it to be in the bucket", lambda: directory.is_dir() and any(directory.iterdir()))
    newest = sorted(directory.iterdir())[-1].read_bytes()
    expect("as it was given out", newest in note, (newest, note))


def test_systemd(realm):
    realm.stop_phrd()
    path = realm.dir / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(path))
        notify.settimeout(20)
        realm.env.update(NOTIFY_SOCKET=str(path), WATCHDOG_USEC="1000000")
        realm.start_phrd()
        expect("systemd is told when it serves", b"READY=1" in notify.recv(4096))
        expect("and that it lives", b"WATCHDOG=1" in notify.recv(4096))
        realm.phrd.send_signal(signal.SIGTERM)
        words = b""
        while b"STOPPING=1" not in words:
            words = notify.recv(4096)
        expect("and that it ends", realm.phrd.wait(20) == 0)
    del realm.env["NOTIFY_SOCKET"], realm.env["WATCHDOG_USEC"]
    realm.start_phrd()


def test_outage(realm):
    before = len(entries(realm))
    bucket, away = realm.home / "bucket", realm.home / "away"
    bucket.rename(away)
    realm.grant("alice/imaging", "dr.wilson")
    wait_until("status to tell of the outage", lambda: status(realm)["store"]["state"] == "away")
    now = status(realm)
    expect("store away: grants go on, and status tells", now["queue"]["entries"] > 0 and now["store"]["last_error"], now)
    realm.stop_phrd(signal.SIGKILL)
    realm.start_phrd()
    expect("phrd starts without its store", status(realm)["queue"]["entries"] > 0)
    expect("and makes no empty one in its place", not bucket.exists())
    away.rename(bucket)
    wait_until("phrd to end, so that it is started with its store", lambda: realm.phrd.poll() is not None)
    expect("store back: it asks to be restarted", realm.phrd.returncode == EXIT_STORE, realm.phrd.returncode)
    realm.start_phrd()
    wait_until("the queue to drain", lambda: drained(realm))
    expect("store back: all entries are there", len(entries(realm)) > before)
    names = [int(p.name) for p in entries(realm)]
    expect("without a gap", names == list(range(len(names))), names)


def test_rebuild(realm):
    grants = realm.phr("grants", "alice", "--passfile", realm.passfile("alice"), check=False).stdout
    realm.stop_phrd()
    sidecar, kept = realm.home / "sidecar", realm.dir / "kept"
    shutil.copytree(sidecar, kept)
    count = len(entries(realm))

    def rebuild():
        for name in ("srs.db", "srs.db-wal", "srs.db-shm"):
            (sidecar / name).unlink(missing_ok=True)
        return realm.command([realm.build / "src/sidecar/phrd", "--rebuild", "--config", realm.conf], check=False)

    entry = entries(realm)[1]
    good = entry.read_bytes()
    entry.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
    done = rebuild()
    expect("a changed entry stops it, by its number", done.returncode != 0 and "entry 1 of patient" in done.stderr, done)
    entry.unlink()
    done = rebuild()
    expect("a missing one too", done.returncode == EXIT_FORK and "entry 1 of patient" in done.stderr
           and "missing" in done.stderr, done)
    entry.write_bytes(good)
    done = rebuild()
    expect("the ledger is rebuilt", done.returncode == 0 and f"{count} entries of 1 patients" in done.stdout, done)
    realm.start_phrd()
    again = realm.phr("grants", "alice", "--passfile", realm.passfile("alice"), check=False).stdout
    expect("with its grants", again == grants and "wilson" in grants, (grants, again))
    realm.grant("alice/personal", "dr.wilson")
    try:
        wait_until("the new entry in the bucket", lambda: len(entries(realm)) > count)
    except Failed as failure:
        raise Failed(f"{failure}: {status(realm)} {realm.phrd_log.read_text()[-1500:]}") from failure
    expect("and goes on from there", status(realm)["queue"]["parked"] == 0, status(realm))
    realm.stop_phrd()
    shutil.rmtree(sidecar)
    shutil.copytree(kept, sidecar)  # an old srs.db against a newer bucket: rolled back by hand
    realm.start_phrd()
    done = realm.phr("grant", "alice/insurance", "--to", "dr.wilson", "--passfile", realm.passfile("alice"),
                     check=False)
    if done.returncode != 0:  # the owner's keyring remembers more than the SRS
        expect("a rolled back SRS is refused by the owner", "rolled back" in done.stderr, done)
        return
    wait_until("the fork to be noticed", lambda: status(realm)["queue"]["parked"] > 0)
    parked = status(realm)["parked"]
    expect("a rolled back SRS cannot overwrite the bucket", "other content" in parked[0]["words"], parked)


def test_daemon_and_user(build):
    with Bare(build, settings={"phrd": {"user": "nobody"}}) as realm:
        realm.init()
        done = realm.command([realm.build / "src/sidecar/phrd", "--init", "--config", realm.conf], check=False)
        expect("--init again changes nothing", done.returncode == 0, done)
        os.chown(realm.run_dir, NOBODY.pw_uid, NOBODY.pw_gid)  # as tmpfiles.d does
        expect("sidecar/ and the store are the sidecar's user's", all(
            (realm.home / name).stat().st_uid == NOBODY.pw_uid for name in ("sidecar", "bucket")))
        done = realm.command([realm.build / "src/sidecar/phrd", "--config", realm.conf], timeout=30, check=False)
        expect("in the background it returns when it serves", done.returncode == 0, done)
        pid = int((realm.home / "sidecar" / "lock").read_text())
        try:
            words = pathlib.Path(f"/proc/{pid}/status").read_text()
            expect("as its user, with nothing left of root", f"Uid:\t{NOBODY.pw_uid}\t{NOBODY.pw_uid}" in words
                   and "CapEff:\t0000000000000000" in words, words)
            expect("it serves", realm.phr("status", "--json").returncode == 0)
            outputs = {os.readlink(f"/proc/{pid}/fd/{n}") for n in (0, 1)}
            expect("it has let go of the terminal", outputs == {"/dev/null"}, outputs)
            log = os.readlink(f"/proc/{pid}/fd/2")
            expect("and logs elsewhere", log == str(realm.run_dir / "phrd.log") or "socket" in log, log)
        finally:
            os.kill(pid, signal.SIGTERM)
        wait_until("it to end", lambda: not pathlib.Path(f"/proc/{pid}/cmdline").exists()
                   or pathlib.Path(f"/proc/{pid}/cmdline").read_bytes() == b"")
        expect("SIGTERM ends it, socket and all", not (realm.run_dir / "phrd.sock").exists())
        (realm.home / "realm" / "srs.card").unlink()
        done = realm.command([realm.build / "src/sidecar/phrd", "--config", realm.conf], timeout=30, check=False)
        expect("what keeps it from serving is said, by status and sentence", done.returncode != 0
               and "phr init" in done.stderr, done)
        shutil.rmtree(realm.dir, ignore_errors=True)


def test_s3(build):
    import radosgw
    if radosgw.missing():
        print("skipped: not installed: " + ", ".join(radosgw.missing()))
        return
    with radosgw.Cluster() as s3, Bare(build, None, s3.store_url("phr-phrd", "ward-7"), s3.credentials_file) as realm:
        set_up(realm)
        wait_until("the queue to drain", lambda: drained(realm))
        code, text = s3.request("GET", "/phr-phrd", query={"list-type": "2", "prefix": "ward-7/p/"})
        expect("S3: entries are in the bucket", code == 200 and text.count(b"<Key>") >= 2, text)
        realm.stop_phrd()
        right = pathlib.Path(s3.credentials_file).read_text()
        pathlib.Path(s3.credentials_file).write_text(right[:-6] + "00000\n")
        realm.start_phrd()
        wait_until("phrd to notice", lambda: status(realm)["store"]["state"] == "refusing")
        now = status(realm)
        expect("S3: a wrong secret is named", "SignatureDoesNotMatch" in now["store"]["last_error"], now)
        realm.grant("alice/notes", "dr.wilson")
        expect("S3: work goes on, nothing is parked", status(realm)["queue"]["entries"] > 0
               and status(realm)["queue"]["parked"] == 0)
        expect("S3: no key in log, status or argv", all(
            key.encode() not in text for key in (s3.secret_key, s3.secret_key[:-5]) for text in
            (realm.phrd_log.read_bytes(), json.dumps(now).encode(),
             pathlib.Path(f"/proc/{realm.phrd.pid}/cmdline").read_bytes())))
        realm.stop_phrd()
        pathlib.Path(s3.credentials_file).write_text(right)
        realm.start_phrd()
        wait_until("the queue to drain", lambda: drained(realm))
        expect("S3: with the right one it catches up", True)
        shutil.rmtree(realm.dir, ignore_errors=True)


def test_s3_faults(build):
    """kill -9 of phrd while its S3 server misbehaves: the bucket gets every entry, once, unharmed."""
    import radosgw
    import s3proxy
    if radosgw.missing():
        return
    with radosgw.Cluster() as s3, s3proxy.Proxy(s3.port) as proxy, \
            Bare(build, None, s3.store_url("phr-faults", "", proxy.endpoint), s3.credentials_file) as realm:
        set_up(realm)
        parts = ("notes", "imaging", "personal", "prescriptions", "insurance")
        for part, fault in zip(parts, ("reset_after", "reset_before", "hang", "slow_down", "error_200")):
            proxy.fault("PUT", fault, 2)
            proxy.fault("GET", "truncate", 1)
            realm.grant(f"alice/{part}", "dr.wilson")
            realm.stop_phrd(signal.SIGKILL)
            realm.start_phrd()
        proxy.clear()
        wait_until("the queue to drain", lambda: drained(realm), 60)
        now = status(realm)
        expect("faults and kill -9: nothing is parked", now["queue"]["parked"] == 0, now)
        code, text = s3.request("GET", "/phr-faults", query={"list-type": "2", "prefix": "p/"})
        names = [piece.split(b"</Key>")[0].decode() for piece in text.split(b"<Key>")[1:]]
        numbers = [int(name[-20:]) for name in names if "/l/" in name]
        expect("every entry is there", code == 200 and numbers == list(range(len(numbers)))
               and len(numbers) >= 2 + len(parts), names)
        realm.stop_phrd()
        for name in ("srs.db", "srs.db-wal", "srs.db-shm"):
            (realm.home / "sidecar" / name).unlink(missing_ok=True)
        done = realm.command([realm.bin / "phrd", "--rebuild", "--config", realm.conf], check=False)
        expect("and verifies", done.returncode == 0 and f"{len(numbers)} entries" in done.stdout, done)
        shutil.rmtree(realm.dir, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--s3", action="store_true", help="only the part on radosgw")
    args = parser.parse_args()
    if os.geteuid() != 0:
        print("skipped: needs root, to be several users")
        return 77
    try:
        if args.s3:
            test_s3(args.build)
            test_s3_faults(args.build)
            return 0
        with Bare(args.build) as realm:
            set_up(realm)
            test_start_and_border(realm)
            test_mounts(realm)
            test_checkpoints(realm)
            test_systemd(realm)
            test_outage(realm)
            test_rebuild(realm)
            shutil.rmtree(realm.dir, ignore_errors=True)
        test_daemon_and_user(args.build)
    except (Failed, OSError, subprocess.TimeoutExpired) as failure:
        print(f"FAILED {failure}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

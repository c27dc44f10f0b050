#!/usr/bin/env python3
"""The command line around a mount, as a person without fstab uses it.

  test_cli_mount.py --build DIR

phr mount starts phrd and phrfs; login, status, sync, check, conflicts, logout, umount; a
revocation while somebody writes. Needs root and /dev/fuse. Prints "N passed, N failed".
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

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools" / "demo"))
from realm import Failed, Realm, is_mounted, wait_until  # noqa: E402
from test_cli import EXIT_SIDECAR, Checks  # noqa: E402

EXIT_LOCKED, EXIT_SEAL, SKIPPED = 22, 20, 77


def phrd_pid(realm):
    return int((realm.home / "sidecar" / "lock").read_text().split()[0])


def ours(base):
    """Processes whose program lies in the directory of this test."""
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                program = os.readlink(entry / "exe")
            except OSError:
                continue
            if program.startswith(f"{base}/bin/"):
                yield int(entry.name)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def check_mount(realm, c):
    done = realm.phr("sync", check=False)
    c.that("sync without a mount", done.returncode != 0 and "mounted" in done.stderr, done.stderr)
    c.exits("a mount point that is not there", realm.phr("mount", realm.dir / "nowhere", check=False), 1)
    realm.phr("mount", realm.mount_dir, "-o", "allow_other")
    c.that("it is mounted", is_mounted(realm.mount_dir))
    status = realm.phr_json("status")
    c.that("status shows phrd and the mount", status["phrd"]["version"] and
           [m["dir"] for m in status["mounts"]] == [str(realm.mount_dir)], status)
    c.exits("sync of nothing", realm.phr("sync", check=False), 0)


def check_login(realm, c):
    realm.patient("alice")
    realm.identity("dr.wilson")
    c.exits("login for dancing", realm.phr("login", "alice", "--purpose", "DANCE", "--passfile",
                                           realm.passfile("alice"), check=False), 2)
    realm.phr("login", "alice", "--passfile", realm.passfile("alice"))
    names = sorted(os.listdir(realm.mount_dir / "alice"))
    c.that("her six folders", names == ["imaging", "insurance", "labs", "notes", "personal", "prescriptions"], names)
    (realm.mount_dir / "alice/notes/one.txt").write_bytes(b"first note\n" * 1000)
    done = realm.phr("sync", "--wait", "--mount", realm.mount_dir, "--json")
    c.that("sync waits until it is away", json.loads(done.stdout)["clean"], done.stdout)
    c.that("objects are in the store", any((realm.home / "bucket").rglob("*")))
    c.exits("check: all is well", realm.phr("check", check=False), 0)
    c.that("no conflicts", realm.phr_json("conflicts") == [])
    realm.phr("compartment", "add", "alice/genetics", "--passfile", realm.passfile("alice"))
    wait_until("the new folder", lambda: "genetics" in os.listdir(realm.mount_dir / "alice"))
    c.that("a new compartment appears", True)


def check_revoke(realm, c):
    """Somebody writes on while keys change under him: nothing is lost, nothing fails."""
    alice = ["--passfile", realm.passfile("alice")]
    notes = realm.mount_dir / "alice/notes"
    stop = threading.Event()
    written = []
    failures = []

    def write_on():
        while not stop.is_set():
            name = f"during-{len(written):04d}.txt"
            step = "open"
            try:
                with open(notes / name, "wb", buffering=0) as f:
                    step = "write"
                    f.write(name.encode() * 50)
                    step = "close"
                written.append(name)
            except OSError as e:
                failures.append((name, step, e))
            time.sleep(0.003)  # more files than one push of ops takes

    writer = threading.Thread(target=write_on)
    realm.phr("grant", "alice/notes", "--to", "dr.wilson", *alice)
    writer.start()
    try:
        answer = realm.phr_json("revoke", "alice/notes", "--from", "dr.wilson", *alice)
    finally:
        stop.set()
        writer.join()
    c.that("revoked while writing", answer["grants"] == 1 and answer["compartments"] == 1, answer)
    c.that("the mount has cut off", [m["cut_off"] for m in answer["mounts"]] == [True], answer)
    c.that("no write failed", not failures, failures[:3])
    c.exits("sync afterwards", realm.phr("sync", "--wait", check=False), 0)
    wrong = [n for n in written if (notes / n).read_bytes() != n.encode() * 50]
    c.that(f"{len(written)} files are there, and right", not wrong, wrong[:3])
    rows = realm.phr_json("compartment", "list", "alice", *alice)
    row = [r for r in rows if r["name"] == "notes"][0]
    c.that("a new epoch, and nothing left to do", row["epoch"] == 2 and not row["unfinished"], row)
    realm.umount()
    realm.phr("mount", realm.mount_dir, "-o", "allow_other")
    realm.phr("login", "alice", *alice)
    wrong = [n for n in ["one.txt", *written] if not (notes / n).read_bytes()]
    c.that("after a new mount too", not wrong, wrong[:3])


def check_end(realm, c):
    realm.phr("logout")
    c.that("after logout nothing opens", not os.path.exists(realm.mount_dir / "alice/notes/one.txt"))
    c.exits("logout twice", realm.phr("logout", check=False), EXIT_LOCKED)
    realm.phr("umount", realm.mount_dir)
    c.that("it is unmounted", not is_mounted(realm.mount_dir))
    wait_until("phrfs to end", lambda: realm.phrfs_pid() is None)
    c.exits("check without a mount", realm.phr("check", check=False), 0)
    biggest = max((p for p in (realm.home / "vault/data").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    with open(biggest, "r+b") as f:
        byte = f.read(1)
        f.seek(0)
        f.write(bytes([byte[0] ^ 1]))
    done = realm.phr("check", "--json", check=False)
    c.that("check finds a flipped bit", done.returncode == EXIT_SEAL and json.loads(done.stdout)["damaged"],
           f"{done.returncode} {done.stdout} {done.stderr}")
    pid = phrd_pid(realm)
    os.kill(pid, signal.SIGTERM)
    wait_until("phrd to end", lambda: not is_alive(pid))
    c.exits("sync with nothing mounted", realm.phr("sync", check=False), 1)
    c.exits("status with nothing running", realm.phr("status", check=False), EXIT_SIDECAR)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    args = parser.parse_args()
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        print("needs root and /dev/fuse")
        return SKIPPED
    c = Checks()
    base = tempfile.mkdtemp(prefix="phr-cli-")
    realm = None
    try:
        with Realm(args.build, base) as realm:
            realm.init()
            check_mount(realm, c)
            check_login(realm, c)
            check_revoke(realm, c)
            check_end(realm, c)
    except (Failed, OSError, subprocess.TimeoutExpired) as failure:
        c.that("a command", False, repr(failure) if not isinstance(failure, Failed) else failure)
    finally:
        for pid in ours(base):  # what phr mount started outlives a test that failed
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(base)
    print(f"{c.passed} passed, {c.failed} failed")
    return 1 if c.failed else 0


if __name__ == "__main__":
    sys.exit(main())

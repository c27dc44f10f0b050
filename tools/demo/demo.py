#!/usr/bin/env python3
"""The main job as a story: what a hospital writes, a doctor's tools read, and nobody else's do.

  demo.py --build DIR [--s3] [--keep DIR]

Needs root (several users open files). Prints what it does and what it checks; ends with
status 1 at the first check that fails. Leaves one directory behind, which it names.
"""
import argparse
import contextlib
import hashlib
import os
import pathlib
import re
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import dicom  # noqa: E402
from realm import Failed, Realm, wait_until  # noqa: E402

UIDS = {"alice": 20001, "pacs": 20002, "dr.wilson": 20003, "dr.chen": 20004, "dr.meyer": 20005}
SLICES = 20
MAPPING_BYTES_MAX = 1 << 30


def say(text):
    print(f"\n{text}", flush=True)


def checked(text, holds=True, detail=""):
    if not holds:
        raise Failed(f"{text}\n  {detail}")
    print(f"  ok  {text}", flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# ---- the viewer: a process of a reader that opens a file, shows it, and looks again when told ----

# All descriptors of a file share its cached pages. When one of two readers is cut off, the other
# therefore gets ESTALE once, as from NFS, and opens the file anew (a new node, other pages).
VIEWER = """
import errno, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
size = os.fstat(fd).st_size
print("read", len(os.pread(fd, size, 0)), flush=True)
for line in sys.stdin:
    try:
        try:
            data = os.pread(fd, size, 0)
        except OSError as e:
            if e.errno != errno.ESTALE:
                raise
            fd = os.open(sys.argv[1], os.O_RDONLY)
            data = os.pread(fd, size, 0)
        print("read", len(data), flush=True)
    except OSError as e:
        print("error", e.errno, flush=True)
"""


class Viewer:
    def __init__(self, path, uid):
        self.process = subprocess.Popen(
            ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "/usr/bin/python3", "-c",
             VIEWER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.first = self.process.stdout.readline().split()

    def look(self):
        self.process.stdin.write("again\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().split()

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


@contextlib.contextmanager
def dicom_receiver(realm, folder, uid):
    port = free_port()
    log = open(realm.dir / "storescp.log", "wb")
    process = subprocess.Popen(
        ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "storescp", "-od", str(folder),
         "-aet", "PACS", str(port)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    log.close()
    try:
        def is_listening():
            if process.poll() is not None:
                raise Failed(f"storescp ended: {(realm.dir / 'storescp.log').read_text()}")
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0
        wait_until("storescp to listen", is_listening)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def tool_outputs(realm, path, uid):
    """What four independent tools make of one file, its path taken out."""
    out = {}
    for tool, args in (("dcmdump", ["dcmdump", str(path)]), ("gdcminfo", ["gdcminfo", str(path)])):
        done = realm.command(args, uid=uid, text=False)
        out[tool] = done.stdout.replace(str(path).encode(), b"FILE")
    done = realm.command(["dcm2pnm", str(path)], uid=uid, text=False)  # the picture to stdout
    out["dcm2pnm"] = hashlib.sha256(done.stdout).hexdigest()
    script = ("import sys, pydicom\nd = pydicom.dcmread(sys.argv[1])\n"
              "print(d.PatientName, d.InstanceNumber, int(d.pixel_array.astype('int64').sum()))")
    out["pydicom"] = realm.command(["/usr/bin/python3", "-c", script, path], uid=uid).stdout
    return out


def as_user(uid, question):
    """Runs question() in a child of another user; its answer as text, or the errno as E<number>."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read_end)
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            try:
                answer = str(question())
            except OSError as e:
                answer = f"E{e.errno}"
            os.write(write_end, answer.encode())
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(pid, 0)
    return answer


def search_files(folder, markers):
    """Files below folder that hold one of the markers."""
    found = []
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            with open(path, "rb") as f:
                data = f.read()
            found += [(path, m) for m in markers if m in data]
    return found


def search_memory(pid, markers):
    """Markers in the memory of a process, read as root."""
    found = set()
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            span, mode = line.split()[:2]
            if "r" not in mode or "[v" in line:
                continue
            start, end = (int(x, 16) for x in span.split("-"))
            if end - start > MAPPING_BYTES_MAX:
                continue  # a sanitizer's shadow: terabytes of nothing
            try:
                mem.seek(start)
                data = mem.read(end - start)
            except (OSError, ValueError):
                continue
            found |= {m for m in markers if m in data}
    return found


# ---- the story ----------------------------------------------------------------------------------


def build_realm(realm):
    say("A hospital's realm: an authority, a server that cannot read, an object store.")
    realm.init()
    realm.start_phrd()
    checked("phrd runs, with the re-encryption server inside")
    say("People: patient alice; service pacs; doctors dr.wilson, dr.chen and dr.meyer.")
    for label in ("pacs", "dr.wilson", "dr.chen", "dr.meyer"):
        realm.identity(label, "service" if label == "pacs" else "person", UIDS[label])
    realm.patient("alice")
    checked("keys made here, cards signed by the authority, alice's ledger begins")
    realm.mount("allow_other")
    realm.login("alice")
    checked(f"mounted at {realm.mount_dir}")


def receive_study(realm, originals):
    say("alice lets pacs write her imaging; a DICOM receiver runs as pacs, on the mount.")
    realm.grant("alice/imaging", "pacs", "rw")
    realm.login("pacs", UIDS["pacs"])
    imaging = realm.mount_dir / "alice" / "imaging"
    with dicom_receiver(realm, imaging, UIDS["pacs"]) as port:
        realm.command(["storescu", "-aec", "PACS", "127.0.0.1", port, *originals], timeout=180)
    stored = {}
    names = as_user(UIDS["pacs"], lambda: "\n".join(sorted(os.listdir(imaging)))).split("\n")
    checked(f"storescp took {len(names)} slices", len(names) == len(originals), names)
    for name in names:
        path = imaging / name
        number = int(realm.command(["dcmdump", "+P", "0020,0013", path], uid=UIDS["pacs"]).stdout
                     .split("[")[1].split("]")[0])
        stored[number] = path
    checked("each slice is there once", sorted(stored) == list(range(1, len(originals) + 1)))
    return imaging, stored


def doctor_reads(realm, originals, stored):
    say("alice grants dr.wilson her imaging; he opens the study with four programs.")
    realm.grant("alice/imaging", "dr.wilson")
    realm.login("dr.wilson", UIDS["dr.wilson"])
    received = realm.dir / "received"
    received.mkdir(exist_ok=True)
    with dicom_receiver(realm, received, 0) as port:  # what storescp writes on an ordinary disk
        realm.command(["storescu", "-aec", "PACS", "127.0.0.1", port, *originals], timeout=180)
    plain = {p.name: p for p in received.iterdir()}
    for path in stored.values():
        ours = as_user(UIDS["dr.wilson"], lambda p=path: hashlib.sha256(p.read_bytes()).hexdigest())
        theirs = hashlib.sha256(plain[path.name].read_bytes()).hexdigest()
        if ours != theirs:
            raise Failed(f"{path.name} differs from what the receiver wrote elsewhere: {ours} {theirs}")
    checked(f"{len(stored)} slices are byte for byte what the receiver writes on an ordinary disk")
    for number in (1, SLICES // 2, SLICES):
        path = stored[number]
        here = tool_outputs(realm, path, UIDS["dr.wilson"])
        there = tool_outputs(realm, plain[path.name], 0)
        for tool, output in here.items():
            if output != there[tool]:
                raise Failed(f"{tool} says something else of slice {number}:\n{output}\n{there[tool]}")
    checked("dcmdump, dcm2pnm, gdcminfo and pydicom say the same of them as of the originals")


def other_doctor_is_kept_out(realm, imaging, stored):
    say("dr.chen sits at the same machine, on the same mount, with warm caches, and no grant.")
    realm.login("dr.chen", UIDS["dr.chen"])
    path = stored[1]
    uid = UIDS["dr.chen"]
    denied = "E13"
    for what, question in (("opening a slice", lambda: open(path, "rb").read(1)),
                           ("its attributes", lambda: os.stat(path).st_size),
                           ("the list of names", lambda: os.listdir(imaging)),
                           ("the compartments", lambda: os.listdir(realm.mount_dir / "alice"))):
        answer = as_user(uid, question)
        checked(f"{what}: EACCES", answer == denied, f"it said {answer}")
    names = as_user(uid, lambda: os.listdir(realm.mount_dir))
    checked("/phr shows him no patient", names == "[]", names)
    def is_logged():
        rows = realm.phr_json("audit", "show", "--who", "dr.chen", "--op", "denied")
        return len(rows) > 0
    wait_until("the denied attempt in the log", is_logged, 10)
    checked("the attempt is in the log")


def nothing_leaks(realm, stored):
    say("What left the mount: ciphertext only.")
    realm.phr("sync", "--wait", timeout=180)
    status = realm.phr_json("status")
    checked("everything is uploaded", True, status)
    markers = list(dicom.MARKERS) + [p.name.encode() for p in stored.values()]
    if realm.store_url is None:
        bucket = realm.home / "bucket"
        objects = [p for p in bucket.rglob("*") if p.is_file()]
        checked(f"the object store holds {len(objects)} objects", len(objects) >= SLICES)
    for place in ("vault", "sidecar", "bucket", "realm"):
        folder = realm.home / place
        if folder.exists():
            checked(f"no marker in {place}", not search_files(folder, markers),
                    search_files(folder, markers))
    logs = [(p, m) for p in realm.log_files() for m in markers if m in p.read_bytes()]
    checked("no marker in the logs", not logs, logs)
    found = search_memory(realm.phrd.pid, markers)
    checked("no marker in the memory of phrd", not found, found)


def revocation_bites(realm, stored):
    say("dr.meyer is granted too; both look at the same slice; alice revokes dr.wilson.")
    realm.grant("alice/imaging", "dr.meyer")
    realm.login("dr.meyer", UIDS["dr.meyer"])
    path = stored[2]
    wilson = Viewer(path, UIDS["dr.wilson"])
    meyer = Viewer(path, UIDS["dr.meyer"])
    try:
        checked("both viewers show it", wilson.first[0] == "read" and meyer.first == wilson.first,
                f"{wilson.first} {meyer.first}")
        done = realm.revoke("alice/imaging", "dr.wilson")
        for line in done.stdout.strip().splitlines():
            print(f"      {line}")
        answer = wilson.look()
        checked("dr.wilson's open viewer: the next read fails", answer == ["error", "13"], answer)
        answer = meyer.look()
        checked("dr.meyer's goes on", answer == meyer.first, answer)
        answer = wilson.look()
        checked("dr.wilson's still fails after dr.meyer read the same bytes", answer == ["error", "13"],
                answer)
        answer = as_user(UIDS["dr.wilson"], lambda: open(path, "rb").read(1))
        checked("dr.wilson cannot open it again", answer == "E13", answer)
        meyer_again = as_user(UIDS["dr.meyer"], lambda: len(open(stored[3], "rb").read()))
        checked("dr.meyer opens another slice under the new keys", meyer_again.isdigit(), meyer_again)
    finally:
        wilson.close()
        meyer.close()


def audit_tells(realm):
    say("The audit log has it all, and can be proved.")
    rows = realm.phr_json("audit", "show", "--patient", "alice", "--raw")
    ops = {(row["who"], row["op"]) for row in rows}
    for who, op in (("pacs", "create"), ("dr.wilson", "release"), ("dr.chen", "denied"),
                    ("dr.meyer", "release")):
        checked(f"{who}: {op}", any(w == who and o.startswith(op) for w, o in ops), sorted(ops))
    for op in ("grant", "revoke"):
        checked(f"alice: {op}", any(o == op for _, o in ops), sorted(ops))
    realm.phr("audit", "verify")
    checked(f"phr audit verify: {len(rows)} records of alice, tree and signature hold")


def edit_is_noticed(realm):
    say("An administrator edits one row of the log.")
    realm.umount()
    realm.stop_phrd()
    database = realm.home / "sidecar" / "srs.db"
    import sqlite3
    with contextlib.closing(sqlite3.connect(database)) as db:
        index, record = db.execute(
            "select idx, box from audit where length(box) > 60 order by idx limit 1 offset 5").fetchone()
        edited = bytearray(record)
        edited[50] ^= 1
        db.execute("update audit set box = ? where idx = ?", (bytes(edited), index))
        db.commit()
    realm.start_phrd()
    done = realm.phr("audit", "verify", check=False)
    text = done.stdout + done.stderr
    checked(f"phr audit verify fails and names record {index}",
            done.returncode != 0 and re.search(rf"\b{index}\b", text), f"exit {done.returncode}: {text}")


def story(realm):
    started = time.monotonic()
    originals = dicom.write_study(realm.dir / "originals", SLICES)
    build_realm(realm)
    imaging, stored = receive_study(realm, originals)
    doctor_reads(realm, originals, stored)
    other_doctor_is_kept_out(realm, imaging, stored)
    nothing_leaks(realm, stored)
    revocation_bites(realm, stored)
    audit_tells(realm)
    edit_is_noticed(realm)
    say(f"All of it holds ({time.monotonic() - started:.0f} s). Left behind: {realm.dir}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, help="directory of the built programs")
    parser.add_argument("--s3", action="store_true", help="on a radosgw that the demo starts and ends")
    parser.add_argument("--keep", help="the directory to leave behind (default: a new one in /tmp)")
    args = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("the demo opens files as several users: run it as root or with sudo")
    with contextlib.ExitStack() as ends:
        store_url = credentials = None
        if args.s3:
            sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "system"))
            import radosgw
            server = ends.enter_context(radosgw.Cluster())
            store_url = server.store_url("phr-demo")
            credentials = server.credentials_file
        realm = ends.enter_context(Realm(args.build, args.keep, store_url, credentials))
        try:
            story(realm)
        except (Failed, subprocess.TimeoutExpired) as failure:
            print(f"\nFAILED: {failure}\nLeft behind: {realm.dir}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

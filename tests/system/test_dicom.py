#!/usr/bin/env python3
"""What medical tools do, on ext4 and on the mount: the same body, the same results.

  test_dicom.py --build DIR [--long] [--only GROUP]

Groups after the plan for DICOM tools: bytes, tools, budget, odd reads, writers, mmap, names, files
that are no DICOM, a big tiled one, and Orthanc with its storage directory and index on the mount.
A group is a function of a place; it tells labels and values, which must be equal. The budget and
the kill have nothing to be compared with and are asked of the mount alone. Real tools on real files:
synthetic slices, a cine, and the samples that pydicom ships.
"""
import argparse
import contextlib
import hashlib
import json
import mmap
import os
import pathlib
import random
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import unicodedata
import urllib.request

import numpy
import pydicom
from pydicom.data import get_testdata_files

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "posix"))
import harness  # noqa: E402
from harness import Failed, RealMount, Skipped, wait_until  # noqa: E402
from test_posix import Ext4  # noqa: E402
import dicom  # noqa: E402

OPTIONS = "allow_other,ownership=stored"
SETTINGS = {"vault": {"seal_delay_ms": 500, "temp_age_ms": 500}}
TOOLS = ("dcmdump", "dcm2pnm", "dcmftest", "dcmodify", "dcmmkdir", "storescp", "storescu", "dcmqrscp", "findscu",
         "gdcminfo", "gdcmscanner", "gdcmanon", "gdcmconv")
SLICES = 20
TILE = 256 * 1024
WARM_LIST_S_MAX = 1.0
BUDGET_AGAIN_BYTES_MAX = 64 * 1024  # what phrfs may write when nothing is to be read again
ORTHANC = shutil.which("Orthanc") or "/usr/sbin/Orthanc"


def drop_caches():
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")


class Place:
    """A folder, the files to work with, and how to mount it anew."""

    def __init__(self, name, folder, source, again, is_long):
        self.name, self.folder, self.source, self.again, self.is_long = name, folder, source, again, is_long
        self.slices = sorted((source / "CT").iterdir())

    def below(self, name):
        path = self.folder / name
        path.mkdir()
        return path

    def run(self, *args, timeout=120, **more):
        """A tool: exit status and output, without what differs by place."""
        done = subprocess.run([str(a) for a in args], capture_output=True, timeout=timeout, check=False,
                              stdin=subprocess.DEVNULL, **more)
        out = (done.stdout + done.stderr).replace(str(self.folder).encode(), b"PLACE")
        return done.returncode, out

    def copied(self, name):
        """The slices in a folder of this place."""
        path = self.below(name)
        for one in self.slices:
            shutil.copy2(one, path / one.name)
        return path


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def digests(folder):
    """Every file below: name, size, digest."""
    found = []
    for path in sorted(pathlib.Path(folder).rglob("*"), key=os.fsencode):
        if path.is_file():
            found.append((os.fsencode(path.relative_to(folder)), path.stat().st_size, digest(path.read_bytes())))
    return found


def said(result):
    """Exit status and digest of what a tool said."""
    return result[0], digest(result[1])


def told_index(p, index):
    """A DICOMDIR without its own UID, which is new each time and of any length, and without offsets."""
    status, out = p.run("dcmdump", index)
    lines = [re.sub(rb"offset=\$\d+", b"", line) for line in out.split(b"\n")
             if not re.match(rb"\s*\((0002,000[03]|0004,12..|0004,1400|0004,1420)\)", line)]
    return status, lines


# ---- files -------------------------------------------------------------------------------------


def write_cine(path, frames):
    """An ultrasound of so many frames, 640 x 480 in colour."""
    rng = numpy.random.default_rng(11)
    first = pydicom.dcmread(path.parent / "CT" / "IM00001")
    first.file_meta.MediaStorageSOPClassUID = first.SOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"
    first.Modality, first.Rows, first.Columns, first.NumberOfFrames = "US", 480, 640, frames
    first.SamplesPerPixel, first.PlanarConfiguration, first.PhotometricInterpretation = 3, 0, "RGB"
    first.BitsAllocated = first.BitsStored = 8
    first.HighBit = 7
    first.PixelData = rng.integers(0, 255, frames * 640 * 480 * 3, dtype=numpy.uint8).tobytes()
    first.save_as(str(path))


def make_source(folder, is_long):
    dicom.write_study(folder / "CT", SLICES)
    write_cine(folder / "us.dcm", 60 if is_long else 20)
    (folder / "samples").mkdir()
    for number, path in enumerate(sorted(get_testdata_files())):
        if os.path.isfile(path):
            shutil.copyfile(path, folder / "samples" / f"{number:03}-{os.path.basename(path)}")


# ---- 1 bytes, 2 tools, 4 odd reads, 8 no DICOM -------------------------------------------------


def group_bytes(p):
    top = p.below("bytes")
    yield "cp -a", p.run("cp", "-a", p.source, top / "cp")
    (top / "tar").mkdir()
    with subprocess.Popen(["tar", "-C", str(p.source), "-c", "."], stdout=subprocess.PIPE) as tar:
        yield "tar", subprocess.run(["tar", "-C", str(top / "tar"), "-x"], stdin=tar.stdout, check=False).returncode
    if shutil.which("rsync"):
        yield "rsync", p.run("rsync", "-a", f"{p.source}/", top / "rsync")
        yield "rsync again", p.run("rsync", "-ani", f"{p.source}/", f"{top}/rsync")
    yield "written", digests(top)
    p.again()
    yield "after a new mount and without a cache", digests(top)


def group_tools(p):
    top = p.copied("tools")
    shutil.copy2(p.source / "us.dcm", top / "us.dcm")
    for turn in ("first", "again"):
        for path in (top / "IM00003", top / "us.dcm"):
            yield f"dcmftest {turn}", p.run("dcmftest", path)
            yield f"dcmdump {turn}", said(p.run("dcmdump", "+P", "0010,0010", path))
            yield f"dcmdump whole {turn}", said(p.run("dcmdump", path))
            yield f"gdcminfo {turn}", said(p.run("gdcminfo", path))
        yield f"dcm2pnm {turn}", said(p.run("dcm2pnm", top / "IM00003"))
        yield f"dcm2pnm of a frame {turn}", said(p.run("dcm2pnm", "+F", "12", top / "us.dcm"))
        yield f"gdcmscanner {turn}", sorted(p.run("gdcmscanner", "-d", top, "-t", "0020,0013", "-p")[1].split(b"\n"))
        for path in sorted(top.iterdir())[::1 if p.is_long else 4]:
            d = pydicom.dcmread(path, defer_size=4096)
            yield f"pydicom {path.name} {turn}", (str(d.PatientName), int(d.pixel_array.astype("int64").sum()))
        p.again()


def read_odd(path):
    size = os.path.getsize(path)
    fd = os.open(path, os.O_RDONLY)
    whole = hashlib.sha256()
    while True:
        some = os.read(fd, 8191)
        whole.update(some)
        if not some:
            break
    yield "8191 at a time", whole.hexdigest()
    yield "tail first", digest(os.pread(fd, 4096, size - 4096) + os.pread(fd, 16384, 0))
    back = hashlib.sha256()
    for at in range(size - size % 8191, -1, -8191):
        back.update(os.pread(fd, 8191, at))
    yield "backwards", back.hexdigest()
    yield "one byte", digest(b"".join(os.pread(fd, 1, at) for at in range(0, size, size // 500)))
    yield "past the end", [os.pread(fd, 10, size + n) for n in (0, 1, 1 << 40)] + [os.pread(fd, 10, size - 3)]
    found = [b""] * 8
    def one(n):
        rng = random.Random(n)
        found[n] = b"".join(os.pread(fd, 5000, rng.randrange(size)) for _ in range(60))
    threads = [threading.Thread(target=one, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    yield "eight threads", digest(b"".join(found))
    os.close(fd)


def group_odd_reads(p):
    top = p.copied("odd")
    shutil.copy2(p.source / "us.dcm", top / "us.dcm")
    for turn in ("warm", "cold"):
        for name in ("IM00007", "us.dcm"):
            for label, value in read_odd(top / name):
                yield f"{name} {turn} {label}", value
        p.again()
    with open(top / "us.dcm", "rb") as a, open(top / "copy", "wb") as b:
        copied = 0
        while True:
            n = os.copy_file_range(a.fileno(), b.fileno(), (1 << 63) - 1 - copied)
            copied += n
            if n == 0:
                break
    yield "copy_file_range of 2^63", (copied, digest((top / "copy").read_bytes()))


def group_no_dicom(p):
    top = p.below("other")
    for path in sorted((p.source / "samples").iterdir())[::1 if p.is_long else 4]:
        shutil.copyfile(path, top / path.name)
    (top / "empty").write_bytes(b"")
    (top / "short").write_bytes(p.slices[0].read_bytes()[:1000])
    (top / "cut").write_bytes(p.slices[0].read_bytes()[:300000])
    (top / "text").write_text("no preamble")
    yield "bytes", digests(top)
    for path in sorted(top.iterdir()):
        yield f"dcmdump {path.name}", said(p.run("dcmdump", "-q", path))
        yield f"dcmftest {path.name}", p.run("dcmftest", path)[0]
    yield "gdcmscanner", sorted(p.run("gdcmscanner", "-d", top, "-t", "0008,0018", "-p")[1].split(b"\n"))


# ---- 5 writers ---------------------------------------------------------------------------------


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def service(args, port, seconds=30):
    """A server that listens, ended with SIGTERM."""
    child = subprocess.Popen([str(a) for a in args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)
    out = []
    reader = threading.Thread(target=lambda: out.extend(child.stdout), daemon=True)
    reader.start()

    def listens():
        if child.poll() is not None:
            raise Failed(f"{args[0]} ended with {child.returncode}: {b''.join(out[-15:]).decode(errors='replace')}")
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0
    try:
        wait_until(f"{args[0]} to listen", listens, seconds)
        yield child
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(10)
        reader.join(5)


def send_at_once(port, aet, files, parts):
    """Exit statuses of as many storescu at a time."""
    running = [subprocess.Popen(["storescu", "-aec", aet, "127.0.0.1", str(port), *map(str, files[i::parts])],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
               for i in range(parts)]
    return [r.wait(120) for r in running]


def group_receivers(p):
    top, port = p.below("scp"), free_port()
    with service(["storescp", "--fork", "-od", top, "-aet", "PACS", port], port):
        yield "four associations", send_at_once(port, "PACS", p.slices, 4)
        yield "the same once more", send_at_once(port, "PACS", p.slices, 4)
    yield "received", digests(top)
    base, port = p.below("qr"), free_port()
    (p.folder / "qr.cfg").write_text(f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
                                     "HostTable BEGIN\nacme = (ACME, localhost, 5678)\nHostTable END\n"
                                     "VendorTable BEGIN\nVendorTable END\n"
                                     f"AETable BEGIN\nQR {base} RW (200, 1024mb) ANY\nAETable END\n")
    query = ["findscu", "-S", "-aec", "QR", "-k", "QueryRetrieveLevel=IMAGE", "-k", "StudyInstanceUID", "-k",
             "SOPInstanceUID", "-k", "InstanceNumber", "127.0.0.1", port]
    for turn in ("first", "again"):
        with service(["dcmqrscp", "-c", p.folder / "qr.cfg"], port):
            if turn == "first":
                yield "dcmqrscp", send_at_once(port, "QR", p.slices, 1)  # at once it loses some, on ext4 too
            found = p.run(*query)
            yield f"found {turn}", (found[0], sorted(line for line in found[1].split(b"\n") if b"0008,0018" in line))
        p.again()
    yield "stored", sorted(d for n, _, d in digests(base) if n != b"index.dat")
    yield "index", (base / "index.dat").stat().st_size


def group_writers(p):
    top = p.copied("writers")
    for n in range(1, 6):
        yield "dcmodify", p.run("dcmodify", "-m", f"PatientID=CHANGED-{n}", "-i", "0010,4000=a comment",
                                top / f"IM0000{n}")
    yield "with copies", digests(top)
    for n in range(6, 9):
        path = top / f"IM0000{n}"
        yield "gdcmanon", said(p.run("gdcmanon", "--dumb", "--replace", "10,10=ANON", "--empty", "10,20", path, path))
        yield "gdcmconv", said(p.run("gdcmconv", "--rle", path, top / f"RLE{n}"))
        d = pydicom.dcmread(path)
        d.PatientName = "After^Anon"
        d.save_as(str(path))
    yield "in place", digests(top)
    for bak in top.glob("*.bak"):
        bak.unlink()
    index = top / "DICOMDIR"
    yield "dcmmkdir", p.run("dcmmkdir", "+D", index, "+id", top, "-Pgp", *[f"IM0000{n}" for n in range(1, 6)], cwd=top)
    yield "created", told_index(p, index)
    yield "append", p.run("dcmmkdir", "+A", "+D", index, "+id", top, "IM00010", "IM00011", cwd=top)
    yield "appended", told_index(p, index)
    yield "update", p.run("dcmmkdir", "+U", "+D", index, "+id", top, "IM00011", "IM00012", cwd=top)
    yield "updated", told_index(p, index)
    p.again()
    yield "afterwards", (sorted(os.listdir(top)), told_index(p, index))


# ---- 6 mmap, 7 names, 9 big --------------------------------------------------------------------


def group_mmap(p):
    top = p.copied("mmap")
    path = top / "IM00001"
    size = path.stat().st_size
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
        yield "read", digest(m[:])
    with open(path, "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
        m[1000:1010] = b"0123456789"
        m[size - 4:size] = b"tail"
        m.flush()
        yield "seen by read", (os.pread(f.fileno(), 10, 1000), os.pread(f.fileno(), 10, size - 4))
        os.pwrite(f.fileno(), b"by write", 5000)
        yield "seen in the map", m[5000:5008]
    grid = numpy.memmap(top / "grid", dtype="float32", mode="w+", shape=(512, 512))
    grid[:] = numpy.arange(512 * 512, dtype="float32").reshape(512, 512)
    grid.flush()
    del grid
    p.again()
    yield "after a new mount", digests(top)
    yield "numpy", float(numpy.memmap(top / "grid", dtype="float32", mode="r+", shape=(512, 512))[::7, ::5].sum())
    for turn in range(2):
        db = sqlite3.connect(top / "index.db")
        yield f"journal {turn}", db.execute("PRAGMA journal_mode=WAL").fetchone()
        db.execute("CREATE TABLE IF NOT EXISTS image(uid TEXT PRIMARY KEY, n INTEGER)")
        for n in range(40):
            with db:
                db.execute("INSERT OR REPLACE INTO image VALUES(?, ?)", (f"1.2.{turn}.{n}", n))
        with sqlite3.connect(top / "index.db") as other:
            yield f"rows {turn}", other.execute("SELECT count(*), sum(n) FROM image").fetchone()
        other.close()
        yield f"checked {turn}", db.execute("PRAGMA integrity_check").fetchone()
        db.close()
        p.again()


def group_names(p):
    top = p.below("names")
    names = [b"CT." + b"1.2.826.0.1.3680043.8.498." + b"7" * 38, b"IM00001.DCM", b"im00001.dcm", b"x" * 255,
             unicodedata.normalize("NFC", "Müller").encode(), unicodedata.normalize("NFD", "Müller").encode(),
             b"\xff\xfe latin \xe9", "患者".encode(), b" leading", b"trailing ", b"a\nb", b"-rf"]
    for n, name in enumerate(names):
        (pathlib.Path(os.fsdecode(os.fsencode(top) + b"/" + name))).write_bytes(b"%d" % n)
    yield "names", digests(top)
    try:
        (top / ("x" * 256)).write_bytes(b"")
        yield "256 bytes", None
    except OSError as e:
        yield "256 bytes", e.errno
    many = p.below("many")
    for n in range(3000):
        (many / f"CT.1.2.826.0.1.3680043.8.498.{n}").touch()
    yield "listed", p.run("ls", "-f", many)[0]
    began = time.monotonic()
    listed = p.run("ls", "-f", many)[1]
    yield "warm list in time", time.monotonic() - began < WARM_LIST_S_MAX
    yield "entries", sorted(listed.split(b"\n"))
    p.again()
    yield "entries after a new mount", len(os.listdir(many))
    yield "names after a new mount", digests(top)


def group_big(p):
    tiles = 8192 if p.is_long else 1024
    path = p.folder / "slide"
    rng = random.Random(3)
    blocks = [rng.randbytes(TILE) for _ in range(16)]
    with open(path, "wb") as f:
        for n in range(tiles):
            f.write(n.to_bytes(8, "little") + blocks[n % 16][8:])
    p.again()
    with open(path, "rb") as f:
        for n in [rng.randrange(tiles) for _ in range(200)]:
            got = os.pread(f.fileno(), TILE, n * TILE)
            if got != n.to_bytes(8, "little") + blocks[n % 16][8:]:
                yield f"tile {n}", digest(got)
    yield "size", path.stat().st_size
    path.unlink()


# ---- Orthanc -----------------------------------------------------------------------------------


@contextlib.contextmanager
def orthanc(p, top):
    """Orthanc over this folder: its REST door."""
    http, port = free_port(), free_port()
    conf = p.folder / "orthanc.json"
    conf.write_text(json.dumps({
        "Name": "phr", "StorageDirectory": str(top / "storage"), "IndexDirectory": str(top / "index"),
        "HttpPort": http, "DicomPort": port, "DicomAet": "ORTHANC", "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False, "DicomAlwaysAllowStore": True, "DicomCheckCalledAet": False,
        "StableAge": 1, "Plugins": [], "SaveJobs": False, "ConcurrentJobs": 1}))

    def rest(path, method="GET"):
        request = urllib.request.Request(f"http://127.0.0.1:{http}{path}", method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()
    with service([ORTHANC, conf], http, 60):
        wait_until("Orthanc's DICOM side", lambda: p.run("echoscu", "-aec", "ORTHANC", "127.0.0.1", port)[0] == 0)
        yield rest, port


def orthanc_state(rest, top):
    instances = sorted(json.loads(rest("/instances")))
    told = json.loads(rest("/statistics"))
    yield "statistics", {k: v for k, v in told.items()}
    yield "instances", instances
    yield "patients", json.loads(rest("/patients"))
    yield "files", [digest(rest(f"/instances/{i}/file")) for i in instances]
    yield "tags", [json.loads(rest(f"/instances/{i}/simplified-tags"))["InstanceNumber"] for i in instances]
    yield "attachments", sorted(d for _, _, d in digests(top / "storage") if d != digest(b""))


def group_orthanc(p):
    if not os.access(ORTHANC, os.X_OK):
        return
    top = p.below("orthanc")
    with orthanc(p, top) as (rest, port):
        yield "stored", send_at_once(port, "ORTHANC", p.slices, 4)
        for label, value in orthanc_state(rest, top):
            yield label, value
        yield "picture", digest(rest(f"/instances/{sorted(json.loads(rest('/instances')))[0]}/preview"))
    p.again()
    with orthanc(p, top) as (rest, port):
        for label, value in orthanc_state(rest, top):
            yield f"{label} after a new mount", value
        for instance in sorted(json.loads(rest("/instances")))[::2]:
            rest(f"/instances/{instance}", "DELETE")
        for label, value in orthanc_state(rest, top):
            yield f"{label} after deleting", value
        yield "stored again", send_at_once(port, "ORTHANC", p.slices[:5], 2)
        yield "patients gone", [rest(f"/patients/{i}", "DELETE") is not None for i in json.loads(rest("/patients"))]
        yield "empty", json.loads(rest("/statistics"))["CountInstances"]
    db = sqlite3.connect(top / "index" / "index")
    yield "index", db.execute("PRAGMA integrity_check").fetchone()
    db.close()


# ---- of the mount alone ------------------------------------------------------------------------


def written_by(pid):
    text = pathlib.Path(f"/proc/{pid}/io").read_text(encoding="ascii")
    return int(re.search(r"^wchar: (\d+)", text, re.M).group(1))


def check_budget(p, mount):
    """Nothing is read twice; a frame of a cine does not cost the cine."""
    top = p.copied("budget")
    shutil.copy2(p.source / "us.dcm", top / "us.dcm")
    mount.realm.phr("sync", "--wait")
    p.again()
    pid = mount.realm.phrfs_pid()
    faults = []
    for args in (["dcmdump", "+P", "0010,0020", top / "IM00001"], ["gdcminfo", top / "IM00002"],
                 ["dcm2pnm", top / "IM00003"]):
        p.run(*args)
        before = written_by(pid)
        p.run(*args)
        if written_by(pid) - before > BUDGET_AGAIN_BYTES_MAX:
            faults.append(f"{args[0]} again: {written_by(pid) - before} bytes")
    before = written_by(pid)
    p.run("dcm2pnm", "+F", "12", top / "us.dcm")
    cost = written_by(pid) - before
    if cost > (top / "us.dcm").stat().st_size // 2:
        faults.append(f"a frame: {cost} bytes of {(top / 'us.dcm').stat().st_size}")
    return faults


def check_kill(p, mount):
    """kill -9 while slices arrive: each is there whole, or has no bytes yet; never half."""
    top, port = p.below("killed"), free_port()
    with contextlib.suppress(Failed), service(["storescp", "--fork", "-od", top, "-aet", "PACS", port], port):
        sender = threading.Thread(target=send_at_once, args=(port, "PACS", p.slices, 4))
        sender.start()
        wait_until("slices to arrive", lambda: len(os.listdir(top)) >= SLICES // 2, pause=0.002)
        mount.realm.kill_phrfs()
        sender.join(60)
    wait_until("the dead mount to be gone", lambda: not harness.is_mounted(mount.mount_dir))
    mount_again(mount)
    wanted = {digest(pydicom.dcmread(one).PixelData) for one in p.slices}
    faults, whole, empty = [], 0, 0
    for path in top.iterdir():
        if path.stat().st_size == 0:
            empty += 1
        elif digest(pydicom.dcmread(path, force=True).get("PixelData", b"")) in wanted:
            whole += 1
        else:
            faults.append(f"{path.stat().st_size} bytes of a slice")
    print(f"     after the kill: {whole} slices whole, {empty} of no bytes")
    return faults


# ---- both --------------------------------------------------------------------------------------

GROUPS = [("bytes", group_bytes), ("tools", group_tools), ("odd reads", group_odd_reads),
          ("receivers", group_receivers), ("writers", group_writers), ("mmap", group_mmap), ("names", group_names),
          ("no dicom", group_no_dicom), ("big", group_big), ("orthanc", group_orthanc)]


def mount_again(mount):
    keyring = mount.realm.home / "keys" / "alice.keyring"
    mount.realm.mount(f"{OPTIONS},identity={keyring},passfile={mount.realm.passfile('alice')}")


def try_umount(realm):
    try:
        realm.umount()
    except Failed as why:
        if "busy" not in str(why):
            raise
        return False
    return True


def compare(name, group, ext4, mount):
    """None, or where the mount differs."""
    count = 0
    for (label, want), (also, have) in zip(group(ext4), group(mount), strict=True):
        count += 1
        if label != also or want != have:
            return f"{label} differs\n  ext4  {str(want)[:600]}\n  mount {str(have)[:600]}"
    if count == 0:
        raise Skipped(f"{name}: needs a program that is not installed")
    return None


def run_all(args, ext4, mount):
    start = time.monotonic()
    source = ext4.dir / "source"
    source.mkdir()
    make_source(source, args.long)

    def remount():
        wait_until("the mount to be let go", lambda: try_umount(mount.realm), 5)  # others may look at all mounts
        drop_caches()
        mount_again(mount)
    places = (Place("ext4", ext4.dir / "work", source, drop_caches, args.long),
              Place("mount", mount.folder, source, remount, args.long))
    tests = [(name, lambda n=name, g=group: compare(n, g, *places)) for name, group in GROUPS]
    tests += [("budget", lambda: "; ".join(check_budget(places[1], mount))),
              ("kill", lambda: "; ".join(check_kill(places[1], mount)))]
    passed = failed = 0
    for name, test in tests:
        if args.only and args.only not in name:
            continue
        began = time.monotonic()
        try:
            why = test()
        except Skipped as reason:
            print(f"skip {reason}")
            continue
        except (Failed, OSError, ValueError, subprocess.SubprocessError) as fault:
            why = f"{type(fault).__name__}: {fault}"
        failed, passed = failed + bool(why), passed + (not why)
        print(f"{'FAIL' if why else 'ok  '} {name} ({time.monotonic() - began:.1f} s){': ' + why if why else ''}",
              flush=True)
    found = mount.realm.phr_json("check")
    if found["count"]:
        failed += 1
        print(f"FAIL phr check: {found}")
    if failed:
        harness.print_logs(mount.realm.run_dir)
    print(f"{time.monotonic() - start:.0f} s")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True)
    parser.add_argument("--long", action="store_true", help="the tiled file has 2 GiB, the cine 60 frames")
    parser.add_argument("--only", help="part of a group's name")
    args = parser.parse_args()
    try:
        missing = [t for t in TOOLS if not shutil.which(t)]
        if missing:
            raise Skipped(f"needs {' '.join(missing)}: dcmtk, libgdcm-tools")
        harness.need_root_and_fuse()
        with Ext4() as ext4, RealMount(args.build, OPTIONS, SETTINGS) as mount:
            return run_all(args, ext4, mount)
    except Skipped as why:
        print(f"skipped: {why}")
        return harness.SKIP


if __name__ == "__main__":
    sys.exit(main())

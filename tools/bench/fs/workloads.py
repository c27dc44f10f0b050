"""The workloads. A group shares one fresh disk; within it a settle stands between workloads.

A figure is named once, in FIGURES; report.py says what must be reached. Figures of reading jobs
are kept for every peer, figures of writing jobs not for the reader, who cannot write.
"""
import sqlite3
import statistics
import time
from typing import NamedTuple

from machine import memory_mib

MIB = 1 << 20
BLOCK = 4096
SERIES = 300
SMALL = 4096
DICOM = 512 << 10


class Figure(NamedTuple):
    title: str
    unit: str
    is_time: bool = False  # less is better
    group: str = ""


FIGURES = {
    "seq_write": Figure("sequential write, 1 MiB calls, fsync", "MiB/s"),
    "seq_read_cold": Figure("sequential read, cold", "MiB/s"),
    "seq_read_warm": Figure("sequential read, warm, fresh open", "MiB/s"),
    "rand_read_1": Figure("random read 4 KiB, cold, 1 job", "reads/s"),
    "rand_read_4": Figure("random read 4 KiB, cold, 4 jobs", "reads/s"),
    "rand_write": Figure("random write 4 KiB, fsync at the end", "writes/s"),
    "create": Figure("create files of 4 KiB in 50 folders", "files/s"),
    "ls_cold": Figure("ls -lR, cold", "files/s"),
    "ls_warm": Figure("ls -lR, warm", "files/s"),
    "small_read": Figure("read those files, cold", "files/s"),
    "delete": Figure("delete them", "files/s"),
    "unpack_rm": Figure("unpack a source tarball, then rm -rf", "files/s"),
    "unpack": Figure("… unpack alone", "files/s"),
    "rm_rf": Figure("… rm -rf alone", "files/s"),
    "dicom_write": Figure("files of 512 KiB: write", "MiB/s"),
    "dicom_read": Figure("files of 512 KiB: read all, cold", "MiB/s"),
    "open_cold": Figure("open, cold, series of 300: p50", "us", True),
    "open_cold_p99": Figure("… p99", "us", True),
    "open_cold_mean": Figure("… mean", "us", True),
    "open_warm": Figure("open again, warm: p50", "us", True),
    "open_warm_p99": Figure("… p99", "us", True),
    "open_alone": Figure("open, cold, each in a folder of its own: p50", "us", True),
    "open_alone_p99": Figure("… p99", "us", True),
    "sqlite": Figure("SQLite, single-row transactions, synchronous=FULL", "commits/s"),
    "rss": Figure("resident memory after all of it in one mount", "MiB", True),
    "rss_peak": Figure("… at its peak", "MiB", True),
    "settle_seq_write": Figure("seal and upload after sequential write", "s", True),
    "settle_rand_write": Figure("… after random write", "s", True),
    "settle_create": Figure("… after create", "s", True),
    "settle_delete": Figure("… after delete", "s", True),
    "settle_dicom": Figure("… after files of 512 KiB", "s", True),
    "settle_tarball": Figure("… after tarball and rm -rf", "s", True),
}


class Sizes:
    """What a scale makes of the issue's sizes; never so small that a figure is noise."""

    def __init__(self, scale):
        self.big = max(32, int(1024 * scale)) * MIB
        self.random_reads = max(2000, int(20000 * scale))
        self.random_ms = max(1000, int(10000 * scale))
        self.folders = max(10, int(50 * scale))
        self.files = self.folders * 100
        self.dicoms = max(60, int(300 * scale))
        self.commits = max(100, int(300 * scale))


class Stage:
    """One peer in one round: keeps figures, and what the server's processor did for them."""

    def __init__(self, peer, tools, scale):
        self.peer = peer
        self.tools = tools
        self.sizes = Sizes(scale)
        self.figures = {}
        self.cpu = {}
        self.sidecar_cpu = {}

    def keep(self, key, value, result=None, is_write=False):
        if is_write and self.peer.is_reader:
            return
        self.figures[key] = value
        if result:
            self.keep_cpu(key, result, result["count"])

    def keep_cpu(self, key, result, count):
        self.cpu[key] = result["server_cpu_s"] / count * 1e6
        if self.peer.is_ours:
            self.sidecar_cpu[key] = result["sidecar_cpu_s"] / count * 1e6

    def rate(self, key, result, amount=None, is_write=False):
        amount = result["count"] if amount is None else amount
        self.keep(key, amount / result["seconds"], dict(result, count=amount), is_write)

    def settle(self, key):
        seconds = self.peer.settle()
        if self.peer.is_ours:
            self.keep(key, seconds, is_write=True)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def sequential(s):
    p, big = s.peer, s.peer.folder / "big"
    result = p.write("write", big, s.sizes.big, MIB)
    s.rate("seq_write", result, s.sizes.big / MIB, True)
    s.settle("settle_seq_write")
    p.cold()
    s.rate("seq_read_cold", p.read("read", big, MIB), s.sizes.big / MIB)
    s.rate("seq_read_warm", p.read("read", big, MIB), s.sizes.big / MIB)


def random_io(s):
    p, big = s.peer, s.peer.folder / "big"
    p.write("write", big, s.sizes.big, MIB)
    for jobs in (1, 4):
        p.cold()
        s.rate(f"rand_read_{jobs}", p.read("randread", big, s.sizes.random_reads, jobs))
    if not p.is_reader:
        s.rate("rand_write", p.write("randwrite", big, s.sizes.random_ms), None, True)
        s.settle("settle_rand_write")


def small_files(s):
    p, top = s.peer, s.peer.folder / "small"
    top.mkdir()
    tree = (top, s.sizes.files, s.sizes.folders)
    s.rate("create", p.write("create", *tree, SMALL), None, True)
    s.settle("settle_create")
    p.cold()
    s.rate("ls_cold", p.read("run", "ls", "-lR", top), s.sizes.files)
    warm = [p.read("run", "ls", "-lR", top) for _ in range(3)]
    s.rate("ls_warm", sorted(warm, key=lambda r: r["seconds"])[1], s.sizes.files)
    p.cold()
    s.rate("small_read", p.read("readall", *tree))
    if not p.is_reader:
        s.rate("delete", p.write("remove", *tree), None, True)
        s.settle("settle_delete")


def tarball(s):
    p = s.peer
    path, count = s.tools.tarball
    path.read_bytes()  # a tarball in the page cache, whatever was dropped
    unpack = p.write("run", "tar", "--no-same-owner", "-xf", path, "-C", p.folder)
    remove = p.write("run", "rm", "-rf", p.folder / "src")
    s.rate("unpack", unpack, count)
    s.rate("rm_rf", remove, count)
    both = {key: unpack[key] + remove[key] for key in ("seconds", "server_cpu_s", "sidecar_cpu_s")}
    s.rate("unpack_rm", both, count)
    s.settle("settle_tarball")


def dicom(s):
    p, top = s.peer, s.peer.folder / "series"
    top.mkdir()
    n = s.sizes.dicoms
    s.rate("dicom_write", p.write("create", top, n, 1, DICOM), n * DICOM / MIB, True)
    s.settle("settle_dicom")
    p.cold()
    s.rate("dicom_read", p.read("readall", top, n, 1), n * DICOM / MIB)


def opens(s):
    p = s.peer
    series, alone = p.folder / "series", p.folder / "alone"
    series.mkdir()
    alone.mkdir()
    p.write("create", series, SERIES, 1, SMALL)
    p.write("create", alone, SERIES, SERIES, SMALL)
    p.cold()
    cold = p.read("open", series, SERIES, 1)
    again = p.read("open", series, SERIES, 1)
    # Each alone: nothing of its folder could be released ahead.
    single = p.read("open", alone, SERIES, SERIES)
    for key, result in (("open_cold", cold), ("open_warm", again), ("open_alone", single)):
        s.keep(key, statistics.median(result["us"]))
        s.keep_cpu(key, result, SERIES)
    s.keep("open_cold_mean", statistics.fmean(cold["us"]))
    s.keep("open_cold_p99", percentile(cold["us"], 0.99))
    s.keep("open_warm_p99", percentile(again["us"], 0.99))
    s.keep("open_alone_p99", percentile(single["us"], 0.99))


def sqlite(s):
    db = sqlite3.connect(s.peer.folder / "db.sqlite", isolation_level=None)
    try:
        db.execute("PRAGMA synchronous=FULL")
        db.execute("CREATE TABLE result(id INTEGER PRIMARY KEY, text TEXT)")
        start = time.perf_counter()
        for i in range(s.sizes.commits):
            db.execute("INSERT INTO result(text) VALUES (?)", (f"row {i} " * 8,))
        seconds = time.perf_counter() - start
    finally:
        db.close()
    s.keep("sqlite", s.sizes.commits / seconds)


def memory(s):
    """Everything once more in one mount, which is never taken down: what stays resident."""
    p = s.peer
    top, big = p.folder / "memory", p.folder / "big"
    top.mkdir()
    tree = (top, s.sizes.files, s.sizes.folders)
    p.write("write", big, s.sizes.big, MIB)
    p.write("create", *tree, SMALL)
    p.settle()
    p.read("read", big, MIB)
    p.read("randread", big, s.sizes.random_reads, 4)
    p.write("randwrite", big, s.sizes.random_ms)
    p.read("run", "ls", "-lR", top)
    p.read("readall", *tree)
    (p.folder / "series").mkdir()
    p.write("create", p.folder / "series", s.sizes.dicoms, 1, DICOM)
    p.read("readall", p.folder / "series", s.sizes.dicoms, 1)
    p.write("run", "tar", "--no-same-owner", "-xf", s.tools.tarball[0], "-C", p.folder)
    p.write("remove", *tree)
    p.settle()
    for pid in p.pids():
        s.keep("rss", memory_mib(pid))
        s.keep("rss_peak", memory_mib(pid, "VmHWM"))


GROUPS = {
    "sequential": sequential,
    "random": random_io,
    "small": small_files,
    "tarball": tarball,
    "dicom": dicom,
    "opens": opens,
    "sqlite": sqlite,
    "memory": memory,
}


def takes_part(group, peer):
    """A reader writes nothing; whose memory it is matters for ours only."""
    if group == "memory":
        return peer.is_ours and not peer.is_reader
    return not (peer.is_reader and group in ("tarball", "sqlite"))

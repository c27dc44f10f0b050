#!/usr/bin/env python3
"""Opens and sequential I/O on the mount, against gocryptfs in the same run.

  mount_bench.py --build DIR [--files 300] [--mib 512] [--rounds 3] [--json FILE]

Absolute times mean little on a busy machine; ratios of one run do. Every round takes fresh
mounts, the systems take turns, medians over rounds are reported. Needs root and gocryptfs.

opens    p50 and p99 in microseconds of open(2) alone, names and attributes warm:
         owner cold (first open after the mount), owner warm (again), reader cold alone (each
         file in a folder of its own, so that nothing is released ahead), reader cold in a series
         (one folder), reader warm (under the lease)
write    1 MiB calls, fsync at the end;  read: after a remount and dropped page cache
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "demo"))
from realm import Realm, wait_until  # noqa: E402

READER_UID = 20003
MIB = 1 << 20


def open_times(paths):
    times = []
    for path in paths:
        start = time.perf_counter_ns()
        fd = os.open(path, os.O_RDONLY)
        times.append((time.perf_counter_ns() - start) / 1000)
        os.close(fd)
    return times


def as_reader(work):
    """Runs work() as the reader in a child; its JSON-able answer."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(READER_UID)
            os.setuid(READER_UID)
            os.write(write_end, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(answer)


def warm_names(paths):
    for path in paths:
        os.stat(path)


def drop_caches():
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")


def write_seconds(path, mib):
    chunk = os.urandom(MIB)
    start = time.perf_counter()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for _ in range(mib):
        os.write(fd, chunk)
    os.fsync(fd)
    os.close(fd)
    return time.perf_counter() - start


def read_seconds(path):
    start = time.perf_counter()
    with open(path, "rb", buffering=0) as f:
        while f.read(MIB):
            pass
    return time.perf_counter() - start


class Phrfs:
    name = "phrfs"

    def __init__(self, build):
        # Sealing and upload start long after the last act here: they are other workloads.
        self.realm = Realm(build, settings={"vault": {"seal_delay_ms": 3600000}})
        self.realm.init()
        self.realm.start_phrd()
        self.realm.identity("dr.wilson", uid=READER_UID)
        self.realm.patient("alice")
        self.realm.grant("alice/imaging", "dr.wilson")
        self.folder = self.realm.mount_dir / "alice" / "imaging"

    def mount(self):
        self.realm.mount("allow_other")
        self.realm.login("alice")
        self.realm.login("dr.wilson", READER_UID)

    def umount(self):
        self.realm.umount()

    def settle(self):
        """What the reader opens must be in the ledger, which is no part of an open."""
        self.realm.phr("sync", "--wait", timeout=600)

    def close(self):
        self.realm.close()
        shutil.rmtree(self.realm.dir, ignore_errors=True)


class Gocryptfs:
    name = "gocryptfs"

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="gocryptfs-"))
        self.folder = self.dir / "plain"
        self.folder.mkdir()
        (self.dir / "cipher").mkdir()
        (self.dir / "pass").write_text("benchmark\n")
        subprocess.run(["gocryptfs", "-q", "-init", "-passfile", self.dir / "pass", self.dir / "cipher"], check=True)

    def mount(self):
        subprocess.run(["gocryptfs", "-q", "-passfile", self.dir / "pass", self.dir / "cipher", self.folder], check=True)

    def umount(self):
        subprocess.run(["umount", self.folder], check=True)
        wait_until("gocryptfs to be unmounted", lambda: not os.path.ismount(self.folder))

    def settle(self):
        pass

    def close(self):
        if os.path.ismount(self.folder):
            self.umount()
        shutil.rmtree(self.dir, ignore_errors=True)


def round_of(system, number, files, mib):
    result = {}
    system.mount()
    top = system.folder / f"round{number}"
    series, alone = top / "series", top / "alone"
    series.mkdir(parents=True)
    alone.mkdir()
    in_series = [series / f"f{i}" for i in range(files)]
    in_folders = [alone / f"d{i}" / "f" for i in range(files)]
    for path in in_series + in_folders:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 4096)
    big = top / "big"
    result["write MiB/s"] = mib / write_seconds(big, mib)
    system.settle()
    system.umount()
    drop_caches()
    system.mount()
    result["read MiB/s"] = mib / read_seconds(big)
    warm_names(in_series)
    result["open owner cold"] = open_times(in_series)
    result["open owner warm"] = open_times(in_series)
    if isinstance(system, Phrfs):
        def reader():
            warm_names(in_series + in_folders)
            return {"open reader cold alone": open_times(in_folders),
                    "open reader cold in a series": open_times(in_series),
                    "open reader warm": open_times(in_folders)}
        result.update(as_reader(reader))
    system.umount()
    return result


def summarise(rounds):
    table = {}
    for key in rounds[0]:
        values = [r[key] for r in rounds]
        if isinstance(values[0], list):
            ordered = sorted(t for v in values for t in v)
            table[key + " p50 us"] = statistics.median(ordered)
            table[key + " p99 us"] = ordered[int(len(ordered) * 0.99) - 1]
        else:
            table[key] = statistics.median(values)
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    args = parser.parse_args()
    systems = [Phrfs(args.build), Gocryptfs()]
    rounds = {s.name: [] for s in systems}
    try:
        for number in range(args.rounds):
            for system in systems:
                rounds[system.name].append(round_of(system, number, args.files, args.mib))
                print(f"round {number + 1} of {args.rounds}: {system.name}", file=sys.stderr)
    finally:
        for system in systems:
            system.close()
    tables = {name: summarise(r) for name, r in rounds.items()}
    print(f"{'':42} {'phrfs':>10} {'gocryptfs':>10} {'ratio':>7}")
    for key, ours in tables["phrfs"].items():
        theirs = tables["gocryptfs"].get(key)
        beside = f"{theirs:10.1f} {ours / theirs:7.2f}" if theirs else ""
        print(f"{key:42} {ours:10.1f} {beside}")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(tables, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Does cost stay flat as things grow? Curves over files in a vault and over patients in a realm.

  python3 tools/bench/growth --build DIR [--files 1000,10000,100000] [--patients 10,1000,100000]
                             [--keyrings 50] [--compartments 6] [--unsealed] [--nice N] [--out DIR]

At each size the same probe runs in a place of its own: 1,000 files of 4 KiB in one folder are
created, and after settling, a new mount and dropped caches they are listed, looked up and opened.
For patients, the probe is in one patient's records; a reader with a grant opens as well, which
asks the server. Keyrings are made for --keyrings patients, all logged in under uids of their own;
the others have card and ledger only (realm_fill). --unsealed keeps files from being sealed and
uploaded, which is most of the time of a big vault. Results: growth.md, growth.json, growth.svg.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fs"))
import curves  # noqa: E402
from machine import (Disk, Undo, command, cpu_seconds, draw, drop_caches, enter_own_mounts,  # noqa: E402
                     memory_mib, raise_priority, say)
from peers import Phrfs, PhrfsReader  # noqa: E402
from realm import Failed  # noqa: E402

PROBE = 1000
PROBE_SERIES = 300  # opens by a reader, each in a folder of its own
FOLDER = 500        # files of the bulk in one folder
BULK_STEP = 20000   # created between two waits, so that what is not uploaded stays bounded
UID_FIRST = 21000
FILLERS = 24        # each waits for the disk most of the time
NEVER_MS = 24 * 3600 * 1000


class Tools:
    def __init__(self, args):
        self.build = args.build
        self.load = args.build / "tools" / "bench" / "fs_load"
        self.fill = args.build / "tools" / "bench" / "realm_fill"
        self.work = args.out
        self.realms = None
        self.settings = {}
        if args.unsealed:
            self.settings = {"vault": {"seal_delay_ms": NEVER_MS, "temp_age_ms": NEVER_MS}}
        for program in (self.load, self.fill):
            if not program.exists():
                raise Failed(f"{program} is not built")


def timed(step):
    start = time.monotonic()
    step()
    return time.monotonic() - start


def probe(peer, name, is_sealed):
    """The figures of one size."""
    top = peer.folder / name
    top.mkdir()
    tree = (top, PROBE, 1)
    created = peer.write("create", *tree, 4096)
    row = {"create us": created["seconds"] / PROBE * 1e6, "create cpu us": created["server_cpu_s"] / PROBE * 1e6}
    if peer.is_reader:
        (top / "alone").mkdir()
        peer.write("create", top / "alone", PROBE_SERIES, PROBE_SERIES, 4096)
    if is_sealed:
        row["settle s"] = peer.settle()
    peer.umount()
    peer.disk.sync()
    drop_caches()
    peer.mount()
    row["mount s"] = peer.mount_seconds
    listed = peer.write("run", "ls", "-l", top / "d000000")
    row["list us"] = listed["seconds"] / PROBE * 1e6
    row["list cpu us"] = listed["server_cpu_s"] / PROBE * 1e6
    peer.umount()
    drop_caches()
    peer.mount()
    row["lookup us"] = statistics.median(peer.write("stat", *tree)["us"])
    row["open us"] = statistics.median(peer.write("open", *tree)["us"])
    if peer.is_reader:
        row["reader open us"] = statistics.median(peer.read("open", top / "alone", PROBE_SERIES, PROBE_SERIES)["us"])
        row["phrd MiB"] = memory_mib(peer.realm.phrd.pid)
    row["phrfs MiB"] = memory_mib(peer.pids()[0])
    return row


# ---- files in a vault -------------------------------------------------------------------------

def grow_files(peer, have, want, is_sealed):
    """Brings the vault from have to want files."""
    while have < want:
        n = min(BULK_STEP, want - have)
        folder = peer.folder / f"bulk{have}"
        folder.mkdir()
        peer.write("create", folder, n, max(1, n // FOLDER), 4096)
        have += n
        if is_sealed:
            peer.settle()
        say(f"{have:,} files")


def curve_files(tools, args, undo, rows):
    disk = Disk(args.images, 8 + args.files[-1] // 25000)
    undo.add(disk.close)
    peer = Phrfs(tools, disk)
    undo.add(peer.close)
    peer.prepare()
    peer.mount()
    have = 0
    for size in args.files:
        grow_files(peer, have, size - PROBE, not args.unsealed)
        rows.append(dict({"files": size}, **probe(peer, f"probe{size}", not args.unsealed)))
        have = size
        say(json.dumps(rows[-1]))


# ---- patients in a realm ----------------------------------------------------------------------

class CrowdedRealm(PhrfsReader):
    """A realm with some patients who log in, each under an own uid."""

    keyrings = 0

    def add_keyrings(self, count):
        while self.keyrings < count:
            self.realm.patient(f"patient{self.keyrings}", UID_FIRST + self.keyrings)
            self.realm.login(f"patient{self.keyrings}", UID_FIRST + self.keyrings)
            self.keyrings += 1

    def mount(self):
        super().mount()
        for i in range(self.keyrings):
            self.realm.login(f"patient{i}", UID_FIRST + i)


def fill_realm(peer, tools, count, compartments):
    """Several at once: the server takes what waits in one transaction."""
    if count < 1:
        return
    shares = [count // FILLERS + (i < count % FILLERS) for i in range(FILLERS)]
    words = [compartments, peer.realm.passfile("authority")]
    children = [subprocess.Popen([str(w) for w in (tools.fill, share, *words)], env=peer.realm.env)
                for share in shares if share]
    try:
        if any([child.wait() for child in children]):
            raise Failed("realm_fill failed")
    finally:
        for child in children:
            if child.poll() is None:
                child.terminate()
                child.wait()


def curve_patients(tools, args, undo, rows):
    disk = Disk(args.images, 8 + args.patients[-1] // 5000)
    undo.add(disk.close)
    peer = CrowdedRealm(tools, disk)
    undo.add(peer.close)
    peer.prepare()
    peer.mount()
    have = 1
    for size in args.patients:
        keyrings = min(args.keyrings, size) - 1  # alice is the first
        have += max(0, keyrings - peer.keyrings)
        peer.add_keyrings(keyrings)
        before = cpu_seconds(peer.sidecar_pids())
        seconds = timed(lambda n=size - have: fill_realm(peer, tools, n, args.compartments))
        row = {"patients": size}
        if size > have:
            row["new patient us"] = seconds / (size - have) * 1e6
            row["new patient phrd cpu us"] = (cpu_seconds(peer.sidecar_pids()) - before) / (size - have) * 1e6
        have = size
        say(f"{have:,} patients")
        row.update(probe(peer, f"probe{size}", True))
        row["phrd start s"] = timed(lambda: restart_phrd(peer))
        rows.append(row)
        say(json.dumps(row))


def restart_phrd(peer):
    peer.realm.stop_phrd()
    peer.realm.start_phrd()


def parse():
    parser = argparse.ArgumentParser(prog="tools/bench/growth", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--files", default="1000,10000,100000", help="sizes, or nothing")
    parser.add_argument("--patients", default="10,1000,100000", help="sizes, or nothing")
    parser.add_argument("--keyrings", type=int, default=50)
    parser.add_argument("--compartments", type=int, default=6, help="of a patient without a keyring")
    parser.add_argument("--unsealed", action="store_true")
    parser.add_argument("--nice", type=int, default=0, help="as in tools/bench/fs")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("/var/tmp/phr-bench/growth"))
    parser.add_argument("--images", type=pathlib.Path, default=pathlib.Path("/var/tmp"))
    args = parser.parse_args()
    args.build = args.build.resolve()
    for name, least in (("files", PROBE), ("patients", 10)):
        sizes = sorted(int(word) for word in getattr(args, name).split(",") if word)
        if sizes and sizes[0] < least:
            parser.error(f"--{name}: at least {least}")
        setattr(args, name, sizes)
    if os.geteuid() != 0:
        parser.error("needs root: it mounts")
    return args


def keep_evidence(images, out):
    """What phrfs, phrd and the kernel had to say, and who of ours is still there: it goes with the disk."""
    for log in images.glob("*/realm/**/*.log"):
        shutil.copy(log, out)
    (out / "processes").write_text(command(["ps", "-eLo", "pid,tid,stat,etimes,rss,wchan:32,args"], check=False).stdout)
    (out / "kernel.log").write_text(command(["dmesg"], check=False).stdout)


def main():
    args = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    os.nice(args.nice)
    raise_priority([os.getpid()], args.nice)
    enter_own_mounts()
    args.out.mkdir(parents=True, exist_ok=True)
    tools = Tools(args)
    images = args.images = pathlib.Path(tempfile.mkdtemp(prefix="phr-growth-", dir=args.images))
    images.chmod(0o755)
    tools.realms = images / "realms"
    tools.realms.mkdir()
    results, failures = {}, []
    try:
        for name, curve in (("files", curve_files), ("patients", curve_patients)):
            undo = Undo()
            try:
                if getattr(args, name):
                    curve(tools, args, undo, results.setdefault(name, []))
            except (Failed, OSError, subprocess.SubprocessError) as error:
                failures.append(f"{name}: {error}")
                keep_evidence(images, args.out)
            finally:
                undo.run()
    finally:
        shutil.rmtree(images)
    results = {name: rows for name, rows in results.items() if rows}
    text = curves.render(" ".join(["tools/bench/growth", *sys.argv[1:]]), results)
    (args.out / "growth.json").write_text(json.dumps(results, indent=1) + "\n")
    (args.out / "growth.md").write_text(text)
    draw(curves.__file__, args.out / "growth.json", args.out / "growth.svg")
    print(text)
    for failure in failures:
        print(f"not measured: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"tools/bench/growth: {error}")
    except KeyboardInterrupt:
        sys.exit(130)

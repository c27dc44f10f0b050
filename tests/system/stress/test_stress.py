#!/usr/bin/env python3
"""dbench, fio --verify and stress-ng's file system stressors on a real mount.

  test_stress.py --build DIR [--long] [--only NAME] [--seconds S]

Each runs on ext4 first: what fails there is not counted against us, what passes there must pass on
the mount. stressors.txt says which stressors run when, and why others do not. phrfs must outlive
all of it as the same process, with its memory and its descriptors inside their limits and no leak
of either; then everything reaches the object store, what fio wrote is verified once more after a
new mount, `phr check` is clean, and no log says warn or error.
"""
import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "posix"))
import harness  # noqa: E402
from harness import Failed, RealMount, Skipped, wait_until  # noqa: E402
from test_posix import Ext4  # noqa: E402

TABLE = pathlib.Path(__file__).resolve().parent / "stressors.txt"
OPTIONS = "allow_other,ownership=stored"
SETTINGS = {"vault": {"seal_delay_ms": 500, "temp_age_ms": 500}}
# While they run: 16 MiB of ciphertext that waits, 32 of SQLite, 14 of strips, buffers of ten workers.
RSS_MIB_MAX, RSS_MIB_LONG_MAX = 96, 128
FDS_MORE_MAX = 300   # STORE_FDS_MAX, and some
FDS_LEFT_MAX = 16    # more than before when no file is left
RUN_SECONDS_MAX = 120

FIO = ["fio", "--output-format=terse", "--verify=crc32c", "--verify_fatal=1", "--randrepeat=1",
       "--allow_file_create=1", "--group_reporting"]
FIO_JOBS = {  # what each must bring back from the disk
    "seq": ["--rw=write", "--bs=128k", "--size=48m", "--end_fsync=1"],
    "rand": ["--rw=randwrite", "--bs=4k", "--size=12m", "--numjobs=3", "--fsync=128"],
    "odd": ["--rw=randwrite", "--bsrange=512-48k", "--bs_unaligned=0", "--size=12m", "--numjobs=2"],
    "mmap": ["--ioengine=mmap", "--rw=randwrite", "--bs=4k", "--size=16m", "--numjobs=2"],
    "direct": ["--ioengine=libaio", "--iodepth=8", "--direct=1", "--rw=randwrite", "--bs=16k", "--size=16m"],
    "sync": ["--sync=1", "--rw=write", "--bs=32k", "--size=4m"],
    "mixed": ["--rw=randrw", "--bs=8k", "--size=16m", "--verify_backlog=64", "--fdatasync=32"],
}
FIO_LONG = {"seq": "1g", "rand": "128m", "odd": "128m", "mmap": "256m", "direct": "256m", "sync": "32m", "mixed": "128m"}


class Place:
    """A folder, and what a tool did there."""

    def __init__(self, name, folder):
        self.name, self.folder = name, pathlib.Path(folder)

    def run(self, args, seconds):
        """(exit status, output); a tool that does not end is killed with its children."""
        child = subprocess.Popen([str(a) for a in args], cwd=self.folder, stdin=subprocess.DEVNULL, text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                                 errors="replace")
        try:
            out, _ = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            raise Failed(f"{args[0]} on {self.name} did not end within {seconds} s") from None
        return child.returncode, out


def need_tools():
    for tool in ("stress-ng", "fio", "dbench"):
        if not shutil.which(tool):
            raise Skipped(f"needs {tool} (Debian package of this name)")


def read_table():
    rows = []
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words and words[0] != "#":
            if len(words) < 2 or words[1] not in ("fast", "long", "no") or (words[1] == "no" and len(words) < 3):
                raise Failed(f"{TABLE.name}: {line}")
            rows.append((words[0], words[1], words[2:]))
    return rows


def check_table(rows):
    """Every stressor of the class stands in the table."""
    said = subprocess.run(["stress-ng", "--class", "filesystem?"], capture_output=True, text=True, check=False)
    known = {name for name, _, _ in rows}
    missing = set(said.stdout.partition(":")[2].split()) - known
    if missing:
        raise Failed(f"{TABLE.name} says nothing of {sorted(missing)}")


# ---- the tools: each returns None, or why it failed -------------------------------------------


def last_lines(out, words=("fail", "error", "warn", "skip", "verify", "No such", "Input/output")):
    lines = [line for line in out.splitlines() if any(w in line for w in words)] or out.splitlines()
    return " / ".join(lines[-4:])[:600]


def stress_ng(place, name, options, seconds):
    status, out = place.run(["stress-ng", "--temp-path", place.folder, f"--{name}", "2", "--timeout", f"{seconds}s",
                             "--verify", *options], seconds + RUN_SECONDS_MAX)
    if status != 0 or "skipping stress" in out:
        return f"exit {status}: {last_lines(out)}"
    left = [n for n in os.listdir(place.folder) if n.startswith("tmp-stress-ng")]
    return f"leaves {left[:3]}" if left else None


def dbench(place, clients, seconds):
    status, out = place.run(["dbench", "-D", place.folder, "-t", seconds, "-x", "-F", clients],
                            seconds + RUN_SECONDS_MAX)
    out = out.replace("failed to create barrier semaphore", "")  # it always says so and goes on
    if status != 0 or "Throughput" not in out or re.search(r"failed|error", out, re.I):
        return f"exit {status}: {last_lines(out)}"
    return None


def fio(place, job, size, verify_only=False):
    options = list(FIO_JOBS[job])
    if size:
        options = [f"--size={size}" if o.startswith("--size=") else o for o in options]
    if verify_only:
        options += ["--verify_only=1"]
    status, out = place.run([*FIO, f"--directory={place.folder}", f"--name={job}", *options], RUN_SECONDS_MAX * 5)
    return f"exit {status}: {last_lines(out)}" if status != 0 else None


# ---- phrfs meanwhile ---------------------------------------------------------------------------


class Server:
    """The file system's process, looked at from outside."""

    def __init__(self, mount, rss_mib_max):
        self.realm, self.rss_mib_max = mount.realm, rss_mib_max
        self.pid = self.realm.phrfs_pid()
        self.fds_before = self.fds()
        pathlib.Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")  # the login's Argon2id aside
        self.fds_most = self.rss_most = 0

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def status_kib(self, key):
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        return int(re.search(rf"^{key}:\s+(\d+) kB", text, re.M).group(1))

    def check(self):
        if self.realm.phrfs_pid() != self.pid:
            raise Failed("phrfs is not the same process any more")
        self.fds_most = max(self.fds_most, self.fds())
        self.rss_most = self.status_kib("VmHWM") // 1024
        if self.fds_most > self.fds_before + FDS_MORE_MAX:
            raise Failed(f"{self.fds_most} descriptors")
        if self.rss_most > self.rss_mib_max:
            raise Failed(f"{self.rss_most} MiB resident")


# ---- one run -----------------------------------------------------------------------------------


class Run:
    def __init__(self, args, ext4, mount):
        self.args, self.mount = args, mount
        self.server = Server(mount, RSS_MIB_LONG_MAX if args.long else RSS_MIB_MAX)
        self.passed = self.failed = self.skipped = 0
        self.places = []
        for name, folder in (("ext4", ext4.dir / "work"), ("mount", mount.folder)):
            (folder / "stress").mkdir()
            self.places.append(Place(name, folder / "stress"))

    def on_both(self, name, tool, *args):
        """On ext4, then on the mount. True when it counts for us."""
        if self.args.only and self.args.only not in name:
            return False
        times, why = [], None
        for place in self.places:
            began = time.monotonic()
            why = tool(place, *args)
            times.append(time.monotonic() - began)
            if why:
                break
        if why and place is self.places[0]:
            self.skipped += 1
            print(f"skip {name}: fails on ext4, too: {why}", flush=True)
            return False
        self.server.check()
        self.failed, self.passed = self.failed + bool(why), self.passed + (not why)
        print(f"{'FAIL' if why else 'ok  '} {name} ({times[0]:.1f} s, {times[1]:.1f} s; "
              f"{self.server.rss_most} MiB at most){': ' + why if why else ''}", flush=True)
        return not why

    def all(self):
        rows = read_table()
        check_table(rows)
        is_long, jobs = self.args.long, []
        for job in FIO_JOBS:
            if self.on_both(f"fio {job}", fio, job, FIO_LONG[job] if is_long else None):
                jobs.append(job)
        jobs = [j for j in jobs if j != "mixed"]  # fio verifies no mix of reads and writes again
        self.on_both("dbench", dbench, *((4, 20) if is_long else (2, 3)))
        for name, when, more in rows:
            if when == "fast" or (when == "long" and is_long):
                self.on_both(f"stress-ng {name}", stress_ng, name, more, self.args.seconds or (4 if is_long else 1))
        self.settle()
        self.mount_again()
        for job in jobs:
            self.on_both(f"fio {job} after a new mount", fio, job, FIO_LONG[job] if is_long else None, True)
        for place in self.places:
            shutil.rmtree(place.folder)
        self.settle()
        wait_until("descriptors to be given back",
                   lambda: self.server.fds() <= self.server.fds_before + FDS_LEFT_MAX)
        print(f"{self.server.fds()} descriptors in the end, {self.server.fds_before} at the start")

    def settle(self):
        """Everything is stored, nothing is damaged, nobody complained."""
        self.mount.realm.phr("sync", "--wait", timeout=300)
        found = self.mount.realm.phr_json("check")
        if not found["finished"] or found["count"]:
            raise Failed(f"phr check: {found}")
        self.server.check()
        for log in self.mount.realm.log_files():
            bad = [line for line in log.read_text(errors="replace").splitlines()
                   if re.search(r" (warn|error) ", line) or "forbidden" in line]
            if bad:
                raise Failed(f"{log.name}: {bad[:5]}")
        print(f"at rest: {self.server.fds()} descriptors ({self.server.fds_most} at most), "
              f"{self.server.status_kib('VmRSS') // 1024} MiB resident ({self.server.rss_most} at most)", flush=True)

    def mount_again(self):
        realm = self.mount.realm
        realm.umount()
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
        keyring = realm.home / "keys" / "alice.keyring"
        realm.mount(f"{OPTIONS},identity={keyring},passfile={realm.passfile('alice')}")
        self.server = Server(self.mount, self.server.rss_mib_max)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True)
    parser.add_argument("--long", action="store_true", help="every stressor of the table, larger files, more clients")
    parser.add_argument("--only", help="part of a name")
    parser.add_argument("--seconds", type=int, help="of each stressor: 1, long 4")
    args = parser.parse_args()
    began = time.monotonic()
    try:
        need_tools()
        harness.need_root_and_fuse()
        with Ext4() as ext4, RealMount(args.build, OPTIONS, SETTINGS) as mount:
            run = Run(args, ext4, mount)
            try:
                run.all()
            except Failed as why:
                run.failed += 1
                print(f"FAIL {why}")
            if run.failed:
                harness.print_logs(mount.realm.run_dir)
    except Skipped as why:
        print(f"skipped: {why}")
        return harness.SKIP
    print(f"{time.monotonic() - began:.0f} s")
    print(f"{run.passed} passed, {run.failed} failed, {run.skipped} skipped")
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())

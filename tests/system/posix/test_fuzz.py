#!/usr/bin/env python3
"""Random operations on ext4 and on the mount: each result, and both trees, must agree.

  test_fuzz.py --build DIR [--ops N] [--seed N] [--every N] [--minimise] [--list FILE] [--plain]

fuzz_posix hands them out; this drives what it cannot do itself: new mounts, kill -9 of phrfs and
dropped caches in between. After a failure, or with --minimise, the sequence is cut down to the
smallest that still fails, and printed; --list runs such a file of numbers again.
"""
import argparse
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness  # noqa: E402
from harness import Failed, RealMount, Skipped, wait_until  # noqa: E402
from test_posix import Ext4  # noqa: E402

OPTIONS = "allow_other,ownership=stored"
SETTINGS = {"vault": {"seal_delay_ms": 300, "temp_age_ms": 500}}
MINIMISE_S = 240
EVENTS = ("COMPARE", "DROP", "REMOUNT", "KILL")


class Plain:
    """Another directory on ext4, for the fuzzer's own sake."""

    def __init__(self):
        self.other = Ext4()

    def __enter__(self):
        self.other.__enter__()
        self.folder = self.other.dir / "work"
        return self

    def __exit__(self, *_):
        self.other.__exit__()

    def on_event(self, _):
        return


class Mount(RealMount):
    """The real mount, with what happens to it in between."""

    def mount_again(self):
        keyring = self.realm.home / "keys" / "alice.keyring"
        self.realm.mount(f"{OPTIONS},identity={keyring},passfile={self.realm.passfile('alice')}")

    def on_event(self, what):
        if what == "DROP":
            pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
        elif what == "REMOUNT":
            self.umount()
            self.mount_again()
        elif what == "KILL":
            self.realm.kill_phrfs()
        elif what == "MOUNT":
            wait_until("the dead mount to be gone", lambda: not harness.is_mounted(self.mount_dir))
            self.mount_again()

    def umount(self):
        """The workers are gone, but the kernel may still let go of their files."""
        for _ in range(100):
            try:
                self.realm.umount()
                return
            except Failed:
                time.sleep(0.05)
        self.realm.umount()


class Fuzz:
    def __init__(self, opts, ext4, mount):
        self.program = pathlib.Path(opts.build).resolve() / "tests/system/posix/fuzz_posix"
        self.opts, self.ext4, self.mount = opts, ext4, mount
        self.turn = 0

    def run(self, numbers=None):
        """(exit status, what it said) of all operations, or of these numbers."""
        self.turn += 1
        folders = [self.ext4.dir / "work" / f"r{self.turn}", self.mount.folder / f"r{self.turn}"]
        for folder in folders:
            folder.mkdir()
            folder.chmod(0o777)
        args = [self.program, *folders, "--seed", self.opts.seed, "--every", self.opts.every, "--events"]
        if numbers is None:
            args += ["--ops", self.opts.ops]
        else:
            path = self.ext4.dir / "list"
            path.write_text("".join(f"{n}\n" for n in numbers))
            args += ["--list", path]
        out = []
        child = subprocess.Popen([str(a) for a in args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                 errors="replace")
        try:
            for line in child.stdout:
                if line.startswith("EVENT "):
                    self.mount.on_event(line.split()[1])
                    child.stdin.write("OK\n")
                    child.stdin.flush()
                else:
                    out.append(line.rstrip())
        finally:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
            child.wait(30)
        if isinstance(self.mount, Mount) and not harness.is_mounted(self.mount.mount_dir):
            self.mount.on_event("MOUNT")
        for folder in folders:
            if numbers is not None or child.returncode == 0:
                shutil.rmtree(folder, ignore_errors=True)
        return child.returncode, out

    def fails(self, numbers, mark):
        """In the same way: smaller sequences often find something else."""
        status, out = self.run(numbers)
        return status == 1 and mark_of(out) == mark

    def minimise(self, numbers, mark, seconds):
        """Leaves out ever smaller parts for as long as the rest still fails."""
        end = time.monotonic() + seconds
        size = max(1, len(numbers) // 2)
        while time.monotonic() < end:
            at, before = 0, len(numbers)
            while at < len(numbers) and time.monotonic() < end:
                rest = numbers[:at] + numbers[at + size:]
                if rest and self.fails(rest, mark):
                    numbers = rest
                else:
                    at += size
            if size == 1 and len(numbers) == before:
                break
            size = max(1, size // 2)
        return numbers


def failed_at(out):
    for line in reversed(out):
        found = re.search(r"DIFFERENCE at (\d+)", line)
        if found:
            return int(found.group(1))
    return None


def mark_of(out):
    """What kind of difference: the operation, and the results or the properties that differ."""
    tail = "\n".join(out[-6:])
    if "TREE" in tail:
        places = re.search(r"mtime (\S+) (\S+)$", tail, re.M)
        return "tree " + ("mtime" if places and places.group(1) != places.group(2) else "other")
    values = re.findall(r"^  (?:ext4|mount) +(-?\d+ \S* hash|-?\d+)", tail, re.M)
    kind = re.search(r"^ *\d+ w\d (\S+)", tail, re.M)
    differs = len(set(values)) > 1
    if not differs and "mtime" in tail:
        sides = re.findall(r"mtime (\S+)\]", tail)
        return "mtime" if len(sides) == 4 and sides[:2] != sides[2:] else "stat"
    return f"{kind.group(1) if kind else '?'} {'result' if differs else 'stat'}"


def report(fuzz, opts, out):
    print("\n".join(out[-30:]), flush=True)
    last = failed_at(out)
    if last is None or not opts.minimise:
        return
    numbers = [n for n in range(last + 1) if n < last or last < opts.ops]
    if opts.list:
        numbers = read_list(opts.list)
    smallest = fuzz.minimise(numbers, mark_of(out), opts.minimise_s)
    status, out = fuzz.run(smallest)
    print(f"smallest sequence found: {len(smallest)} operations of seed {opts.seed}, every {opts.every}")
    for n in smallest:
        print(n, end=" ")
    print()
    describe = subprocess.run([str(fuzz.program), "--describe", str(opts.seed), str(opts.every),
                               *map(str, smallest[:200])], capture_output=True, text=True, check=False)
    print(describe.stdout)
    print(f"and what it says ({'fails' if status else 'passes'} now):")
    print("\n".join(out[-30:]), flush=True)


def found_by_sanitizers(logs):
    """1 when a log holds a report of one; ordinary builds write none."""
    for log in logs:
        text = log.read_text(errors="replace")
        at = re.search("Sanitizer:|runtime error:", text)
        if at:
            print(text[max(0, at.start() - 200):at.start() + 6000])
            return 1
    return 0


def read_list(path):
    return [int(word) for word in pathlib.Path(path).read_text().split()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True)
    parser.add_argument("--ops", type=int, default=50000)
    parser.add_argument("--every", type=int, default=2500, help="operations between two events")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--list", help="a file of numbers instead of all")
    parser.add_argument("--minimise", action="store_true")
    parser.add_argument("--minimise-s", type=int, default=MINIMISE_S)
    parser.add_argument("--plain", action="store_true", help="ext4 with itself")
    opts = parser.parse_args()
    if opts.seed is None:
        opts.seed = random.SystemRandom().getrandbits(31)
    print(f"seed {opts.seed}, {opts.ops} operations, an event every {opts.every}", flush=True)
    began = time.monotonic()
    try:
        harness.need_root_and_fuse()
        harness.need_programs(pathlib.Path(opts.build), "tests/system/posix/fuzz_posix")
        with Ext4() as ext4, (Plain() if opts.plain else Mount(opts.build, OPTIONS, SETTINGS)) as mount:
            fuzz = Fuzz(opts, ext4, mount)
            status, out = fuzz.run(read_list(opts.list) if opts.list else None)
            if status != 0:
                report(fuzz, opts, out)
                if not opts.plain:
                    harness.print_logs(mount.realm.run_dir)
            else:
                print(out[-1])
                status = 0 if opts.plain else found_by_sanitizers(mount.realm.log_files())
    except Skipped as why:
        print(f"skipped: {why}")
        return harness.SKIP
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if status else 0


if __name__ == "__main__":
    sys.exit(main())

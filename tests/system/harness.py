"""What the system tests share: a folder on a real mount, and a runner that counts.

A test is a function whose name begins with test_; it gets what the suite was opened with and
fails by raising. Every wait has an end, and whatever happens nothing is left: no mount, no
process, no directory.
"""
import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tools" / "demo"))
from realm import Failed, Realm, abort_fuse, has_threads, is_mounted, wait_until  # noqa: E402

# A runner that loses patience sends this: everything must be undone all the same.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

SKIP = 77
TEST_WAIT_S = 60


class Skipped(Exception):
    """A feature that the test needs is missing here; the text names it."""


def need_root_and_fuse():
    if os.geteuid() != 0:
        raise Skipped("needs root")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise Skipped("needs /dev/fuse")


def need_programs(build, *programs):
    for program in programs:
        if not (build / program).exists():
            raise Skipped(f"needs {program}, which is not built")


def run(args, check=True, timeout=60, **more):
    """A program's result; Failed with its output when check and it failed."""
    args = [str(a) for a in args]
    done = subprocess.run(args, capture_output=True, text=True, timeout=timeout, check=False,
                          stdin=subprocess.DEVNULL, **more)
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(args)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def unmount_whatever(path):
    """Lazily, after the connection was ended: a process stuck in FUSE ignores even SIGKILL."""
    for _ in range(8):
        if not is_mounted(path):
            return
        abort_fuse(path)
        subprocess.run(["umount", "-i", "-l", str(path)], check=False, capture_output=True, timeout=20)


class FakeMount:
    """phrfs over tests/unit/fake_node.c: the FUSE layer alone, as mount.phrfs starts it."""

    program = "tests/system/phrfs_fake"

    def __init__(self, build, options=""):
        need_root_and_fuse()
        self.build = pathlib.Path(build).resolve()
        need_programs(self.build, self.program, "tools/mount/mount.phrfs", "tools/mount/umount.phrfs")
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="phr-fake-"))
        self.dir.chmod(0o755)
        self.bin = self.dir / "bin"
        self.mount_dir = self.dir / "phr"
        for name in ("bin", "phr", "home", "run"):
            (self.dir / name).mkdir()
        for name in ("mount.phrfs", "umount.phrfs"):
            shutil.copy2(self.build / "tools/mount" / name, self.bin / name)
        (self.bin / "phrfs").symlink_to(self.build / "tests/system/phrfs_fake")
        self.env = dict(os.environ, PHR_HOME=str(self.dir / "home"), PHR_RUN=str(self.dir / "run"))
        self.env.pop("PHR_CONFIG", None)
        self.options = options
        self.folder = self.mount_dir / "alice" / "notes"

    def helper(self, *args, check=True, timeout=60):
        return run([self.bin / "mount.phrfs", *args], check=check, timeout=timeout, env=self.env, cwd="/")

    def mount(self, options=None, source="phr:test"):
        words = self.options if options is None else options
        return self.helper(source, self.mount_dir, *(["-o", words] if words else []))

    def pids(self):
        """phrfs and its guard, while they live."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    environ = (entry / "environ").read_bytes()
                    name = (entry / "comm").read_text().strip()
                except OSError:
                    continue
                if name.startswith("phrfs") and str(self.dir / "run").encode() in environ:
                    found.append(int(entry.name))
        return found

    def umount(self):
        run(["umount", "-i", self.mount_dir])
        wait_until("phrfs to end", lambda: not self.pids())

    def __enter__(self):
        self.mount()
        return self

    def __exit__(self, *_):
        unmount_whatever(self.mount_dir)
        end = time.monotonic() + 5
        while self.pids() and time.monotonic() < end:
            time.sleep(0.02)
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        calls = forbidden_calls(self.dir / "run")
        shutil.rmtree(self.dir, ignore_errors=True)
        same(calls, [])


class RealMount:
    """A realm with one patient, alice, whose identity is the whole mount's; folder is her notes."""

    def __init__(self, build, options="", settings=None):
        need_root_and_fuse()
        need_programs(pathlib.Path(build), "tools/phr/phr", "src/sidecar/phrd", "src/mount/phrfs")
        self.options = options
        self.realm = Realm(build, settings=settings)
        self.dir = self.realm.dir
        self.mount_dir = self.realm.mount_dir
        self.folder = self.mount_dir / "alice" / "notes"

    def __enter__(self):
        try:
            self.realm.init()
            self.realm.start_phrd()
            self.realm.patient("alice")
            keyring = self.realm.home / "keys" / "alice.keyring"
            words = [self.options, f"identity={keyring}", f"passfile={self.realm.passfile('alice')}"]
            self.realm.mount(",".join(w for w in words if w))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.realm.close()
        unmount_whatever(self.mount_dir)
        calls = forbidden_calls(self.realm.run_dir)
        shutil.rmtree(self.realm.dir, ignore_errors=True)
        same(calls, [])


def forbidden_calls(run_dir):
    """Lines of the sandbox in the logs of mounts: a system call that it forbids is a fault of ours."""
    found = []
    for log in pathlib.Path(run_dir).glob("*.log"):
        found += [line for line in log.read_text(errors="replace").splitlines() if "forbidden system call" in line]
    return found


def print_logs(run_dir, lines=15):
    """The last lines of what the mounts said, beside a failure."""
    for log in sorted(pathlib.Path(run_dir).glob("*.log")):
        print(f"-- {log.name}")
        print("\n".join(log.read_text(errors="replace").splitlines()[-lines:]))


class Watchdog:
    """Ends a mount that a test hangs in, so that the test fails instead."""

    def __init__(self, mount_dir, seconds=TEST_WAIT_S):
        self.timer = threading.Timer(seconds, lambda: abort_fuse(mount_dir))
        self.timer.daemon = True

    def __enter__(self):
        self.timer.start()

    def __exit__(self, *_):
        self.timer.cancel()


def run_tests(tests, make_argument, watch=None, only=None):
    """make_argument(name) gives what a test is called with. Prints one line each and the sum."""
    passed = failed = 0
    for name, test in tests:
        if only and only not in name:
            continue
        began = time.monotonic()
        try:
            with Watchdog(watch) if watch else Watchdog("/nowhere"):
                test(make_argument(name))
        except Skipped as why:
            print(f"skip {name}: {why}")
            continue
        except Exception as fault:  # pylint: disable=broad-except
            failed += 1
            place = traceback.extract_tb(fault.__traceback__)[-1]
            where = [f for f in traceback.extract_tb(fault.__traceback__) if f.filename == sys.argv[0]]
            line = where[-1].lineno if where else place.lineno
            print(f"FAIL {name} (line {line}): {type(fault).__name__}: {fault}", flush=True)
            continue
        passed += 1
        print(f"ok   {name} ({time.monotonic() - began:.2f} s)", flush=True)
    print(f"{passed} passed, {failed} failed", flush=True)
    return passed, failed


def tests_of(module):
    """In the order of the file."""
    found = [(n, f) for n, f in vars(module).items() if n.startswith("test_") and callable(f)]
    return sorted(found, key=lambda item: item[1].__code__.co_firstlineno)


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--build", required=True, help="build directory")
    parser.add_argument("--fake", action="store_true", help="the FUSE layer over memory")
    parser.add_argument("--only", help="part of a test's name")
    return parser


def check(condition, text="not so"):
    if not condition:
        raise Failed(text)


def same(got, want):
    if got != want:
        raise Failed(f"got {got!r}, want {want!r}")


def fails(number, call, *args, **more):
    """The call must raise OSError with this errno."""
    try:
        call(*args, **more)
    except OSError as fault:
        same(os.strerror(fault.errno or 0), os.strerror(number))
        return
    raise Failed(f"did not fail; expected {os.strerror(number)}")

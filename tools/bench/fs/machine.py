"""What the machine gives to a run: packages, the pass-through, fresh disks, cold caches.

Nothing here knows a peer or a workload. Everything that is started is ended by its pid, every
mount by its path, and every image is deleted; `Undo` does that in reverse order, whatever ends
the run.
"""
import ctypes
import os
import pathlib
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "demo"))
from realm import Failed, abort_fuse, is_mounted  # noqa: E402

# Where Debian's sources come from, kept apart from the machine's own lists.
SOURCES = ("deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
           "http://deb.debian.org/debian {suite} main\n")
TARBALL_PACKAGE = "git"  # several thousand files, most of them small: a usual source tarball
CLONE_NEWNS = 0x20000
WAIT_S = 300  # cryfs stretches its password with 13 s of CPU and 1 GB


def say(text):
    print(text, file=sys.stderr, flush=True)


def command(args, check=True, timeout=600, **more):
    """Runs a program; its result. Failed with both outputs when it fails and check."""
    args = [str(a) for a in args]
    more.setdefault("stdin", subprocess.DEVNULL)
    if "input" in more:
        more.pop("stdin")
    done = subprocess.run(args, capture_output=True, text=True, timeout=timeout, check=False, **more)
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(args)}: exit {done.returncode}\n{(done.stdout + done.stderr)[-600:]}".rstrip())
    return done


class Undo:
    """What must be undone, newest first. One failure does not keep the rest from being undone."""

    def __init__(self):
        self.steps = []

    def add(self, step):
        self.steps.append(step)
        return step

    def run(self):
        while self.steps:
            step = self.steps.pop()
            try:
                step()
            except Exception as error:  # noqa: BLE001 - the rest must still be undone
                say(f"clean-up: {error}")


# ---- packages ---------------------------------------------------------------------------------

def has_package(name):
    done = command(["dpkg-query", "-W", "-f", "${Status}", name], check=False)
    return "ok installed" in done.stdout


def install_package(name):
    """True when the package is there now; says why when not."""
    if has_package(name):
        return True
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    if command(["apt-cache", "show", name], check=False).returncode != 0:
        command(["apt-get", "-q", "update"], check=False, env=env)
    done = command(["apt-get", "install", "-y", "-q", "--no-install-recommends", name], check=False, env=env)
    if done.returncode != 0:
        say(f"{name}: not installed: {(done.stderr.strip().splitlines() or ['apt-get failed'])[-1]}")
    return done.returncode == 0


def draw(script, results, plot):
    """By Debian's own interpreter, which is the one that has matplotlib."""
    if install_package("python3-matplotlib"):
        done = command(["/usr/bin/python3", script, results, plot], check=False)
        if done.returncode != 0:
            say(f"no plot: {done.stderr.strip()[-200:]}")


def debian_suite():
    with open("/etc/os-release", encoding="utf-8") as release:
        for line in release:
            if line.startswith("VERSION_CODENAME="):
                return line.split("=")[1].strip().strip('"')
    return "bookworm"


def fetch_source(package, work):
    """The upstream tarball of a Debian source package, downloaded once into work/package."""
    target = work / package
    target.mkdir(exist_ok=True)
    have = [p for p in target.glob("*.orig.tar.*") if not p.name.endswith(".asc")]
    if have:
        return have[0]
    lists = work / "apt"
    (lists / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (lists / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    (lists / "sources.list").write_text(SOURCES.format(suite=debian_suite()))
    options = ["-q", "-o", f"Dir::Etc::SourceList={lists}/sources.list", "-o", "Dir::Etc::SourceParts=/dev/null",
               "-o", f"Dir::State::Lists={lists}/lists", "-o", f"Dir::Cache={lists}",
               "-o", "APT::Sandbox::User=root"]
    command(["apt-get", *options, "update"])
    command(["apt-get", *options, "source", "--download-only", package], cwd=target)
    return next(p for p in target.glob("*.orig.tar.*") if not p.name.endswith(".asc"))


def build_passthrough(work):
    """libfuse's passthrough_hp, from the source package of the libfuse that is installed here."""
    program = work / "passthrough_hp"
    if program.exists():
        return program
    for package in ("g++", "pkg-config", "libfuse3-dev", "fuse3", "xz-utils"):
        if not install_package(package):
            raise Failed(f"passthrough_hp needs the package {package}")
    tree = work / "fuse3-tree"
    tree.mkdir(exist_ok=True)
    command(["tar", "-xf", fetch_source("fuse3", work), "-C", tree, "--strip-components=1"])
    flags = command(["pkg-config", "--cflags", "--libs", "fuse3"]).stdout.split()
    # What its own build finds out; without it, every utimensat(2) fails.
    defines = ["-D_GNU_SOURCE", "-DHAVE_UTIMENSAT", "-DHAVE_POSIX_FALLOCATE"]
    command(["g++", "-O2", "-std=c++17", *defines, tree / "example" / "passthrough_hp.cc",
             "-o", program, *flags])
    shutil.rmtree(tree)
    return program


def source_tarball(work, scale):
    """An uncompressed source tarball, so that no decompression stands in a figure; (path, files)."""
    plain = work / f"source-{scale}.tar"
    tree = work / "source-tree"
    if not plain.exists():
        shutil.rmtree(tree, ignore_errors=True)
        (tree / "src").mkdir(parents=True)
        command(["tar", "-xf", fetch_source(TARBALL_PACKAGE, work), "-C", tree / "src", "--strip-components=1"])
        files = sorted(p for p in (tree / "src").rglob("*") if not p.is_dir())
        keep = files[:max(200, int(len(files) * min(scale, 1)))]
        listing = "".join(f"{p.relative_to(tree)}\n" for p in keep)
        command(["tar", "-cf", plain, "-C", tree, "--owner=0", "--group=0", "-T", "-"], input=listing)
        shutil.rmtree(tree)
    names = command(["tar", "-tf", plain]).stdout.splitlines()
    return plain, len(names)


# ---- disks and caches -------------------------------------------------------------------------

def enter_own_mounts():
    """Mounts of this run are seen by nobody else, end with it at the latest, and can't be held by a
    program that copies the machine's mounts meanwhile; nor do we hold anybody's."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise Failed(f"unshare: {os.strerror(ctypes.get_errno())}")
    command(["mount", "--make-rslave", "/"])
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        lines = [line.split() for line in mounts]
    for fields in reversed(lines):
        kind, source = fields[fields.index("-") + 1:][:2]
        if kind.startswith("fuse") and kind != "fusectl" or source.startswith("/dev/loop"):
            command(["umount", "-i", "-l", fields[4]], check=False)


def wait_for(what, question, seconds=WAIT_S):
    end = time.monotonic() + seconds
    while not question():
        if time.monotonic() > end:
            raise Failed(f"waited {seconds} s for {what}")
        time.sleep(0.02)


def unmount(path):
    """Waits out a mount that is busy for a moment; ends a FUSE one that is stuck."""
    end = time.monotonic() + 10
    while is_mounted(path):
        done = command(["umount", path], check=False, timeout=WAIT_S)
        if done.returncode != 0 and time.monotonic() > end:
            abort_fuse(path)
            command(["umount", "-l", path], check=False)
            raise Failed(f"umount {path}: {done.stderr.strip()}")
        if done.returncode != 0:
            time.sleep(0.1)


class Disk:
    """A fresh ext4 in a sparse image on a loop device; gone with close()."""

    def __init__(self, images, gib):
        self.image = images / f"disk-{os.getpid()}.img"
        self.dir = images / f"disk-{os.getpid()}"
        self.dir.mkdir(exist_ok=True)
        self.image.unlink(missing_ok=True)
        with open(self.image, "wb") as image:
            image.truncate(gib << 30)
        try:
            command(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1", self.image])
            # Tables are initialised when they are used, not by a thread beside the workload.
            command(["mount", "-o", "loop,noinit_itable", self.image, self.dir])
        except BaseException:  # Ctrl-C too
            self.close()
            raise

    def close(self):
        if self.dir.exists():
            unmount(self.dir)
            self.dir.rmdir()
        self.image.unlink(missing_ok=True)

    def sync(self):
        """This disk only: sync(2) would wait for every file system of the machine."""
        command(["sync", "-f", self.dir])
        command(["sync", self.image])


def drop_caches():
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")


# ---- processes --------------------------------------------------------------------------------

def end_process(process):
    """Politely, then not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def raise_priority(pids, nice):
    """Of whole sessions: where the kernel groups processes by session, nice alone counts within one."""
    for pid in pids if nice else []:
        try:
            pathlib.Path(f"/proc/{pid}/autogroup").write_text(str(nice))
        except OSError:
            pass  # no autogroups here


def cpu_seconds(pids):
    """User and system time of processes so far."""
    ticks = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mib(pid, key="VmRSS"):
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        for line in status:
            if line.startswith(key + ":"):
                return int(line.split()[1]) / 1024
    return 0.0

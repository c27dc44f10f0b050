#!/usr/bin/env python3
"""What a sysadmin does: mount -t phrfs, fstab, mount -a, remount, umount, a dead mount (USERS B).

  test_fstab.py --build DIR [--fake] [--only PART]

Everything happens in a mount namespace of its own, where an overlay puts our helpers into
/usr/sbin and a tmpfs stands over /run/mount: the machine's own files are not touched.
"""
import errno
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import harness
from harness import FakeMount, Skipped, check, fails, has_threads, same, wait_until

IN_NAMESPACE = "PHR_TEST_IN_NAMESPACE"


def enter_namespace():
    if not os.environ.get(IN_NAMESPACE):
        os.environ[IN_NAMESPACE] = "1"
        os.execvp("unshare", ["unshare", "-m", "--propagation", "slave", sys.executable, *sys.argv])


class Machine(FakeMount):
    """A FakeMount (or the real phrfs) whose helpers stand where mount(8) looks for them."""

    def __init__(self, build, fake):
        if not fake:
            self.program = "src/mount/phrfs"
            harness.need_programs(pathlib.Path(build), "tools/phr/phr", "src/sidecar/phrd")
        super().__init__(build)
        self.fake = fake
        layers = self.dir / "layers"
        layers.mkdir()
        harness.run(["mount", "-i", "-t", "tmpfs", "layers", layers])
        (layers / "upper").mkdir()
        (layers / "work").mkdir()
        done = harness.run(["mount", "-i", "-t", "overlay", "overlay", "-o",
                            f"lowerdir=/usr/sbin,upperdir={layers}/upper,workdir={layers}/work", "/usr/sbin"],
                           check=False)
        if done.returncode != 0:
            raise Skipped("needs overlayfs")
        for program in ("mount.phrfs", "umount.phrfs"):
            shutil.copy2(self.build / "tools/mount" / program, "/usr/sbin/" + program)
        os.symlink("mount.phrfs", "/usr/sbin/mount.fuse.phrfs")
        shutil.copy2(self.build / self.program, "/usr/sbin/phrfs")
        os.makedirs("/run/mount", exist_ok=True)
        harness.run(["mount", "-i", "-t", "tmpfs", "utab", "/run/mount"])
        self.config = self.dir / "phr.conf"
        self.config_text = f"[phr]\nhome = {self.dir}/home\nrun = {self.dir}/run\n"
        if not fake:
            self.make_realm()
        self.config.write_text(self.config_text)
        self.fstab = self.dir / "fstab"
        self.words = f"_netdev,nofail,noatime,allow_other,x-systemd.automount,x-systemd.requires=phrd.service," \
                     f"config={self.config}"
        self.fstab.write_text(f"phr:h1  {self.mount_dir}  phrfs  {self.words}  0 0\n")

    def make_realm(self):
        passfile = self.dir / "authority"
        passfile.write_text("a passphrase\n")
        passfile.chmod(0o600)
        env = dict(self.env, PATH=f"{self.build}/src/sidecar:{os.environ['PATH']}")
        harness.run([self.build / "tools/phr/phr", "init", "--passfile", passfile], env=env)
        self.config_text = (self.dir / "home" / "phr.conf").read_text()

    def call(self, *args, check=False):
        env = {k: v for k, v in self.env.items() if not k.startswith("PHR_")}
        return harness.run(args, check=check, env=env, cwd="/")

    def pids(self):
        """By name within this namespace: nothing else of ours has it."""
        found = []
        here = os.readlink("/proc/self/ns/mnt")
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                name = (entry / "comm").read_text().strip()
                if name.startswith("phrfs") and os.readlink(entry / "ns/mnt") == here:
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def mount_by_fstab(self, check=True):
        return self.call("mount", "-T", self.fstab, self.mount_dir, check=check)

    def layers(self):
        with open("/proc/self/mounts", encoding="utf-8") as table:
            return sum(1 for line in table if line.split()[1] == str(self.mount_dir))

    def clean(self):
        harness.unmount_whatever(self.mount_dir)
        end = time.monotonic() + 10
        while self.pids() and time.monotonic() < end:
            time.sleep(0.02)
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        pathlib.Path("/run/mount/utab").unlink(missing_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.clean()
        for place in ("/run/mount", "/usr/sbin", self.dir / "layers"):
            subprocess.run(["umount", "-i", "-l", str(place)], check=False, capture_output=True)
        shutil.rmtree(self.dir, ignore_errors=True)


def options_of(m):
    return harness.run(["findmnt", "-no", "SOURCE,FSTYPE,OPTIONS", m.mount_dir]).stdout.split()


def test_mount_by_type(m):
    done = m.call("mount", "-t", "phrfs", "phr:h1", m.mount_dir, "-o", f"allow_other,config={m.config}", check=True)
    same(done.stdout + done.stderr, "")
    source, kind, words = options_of(m)
    same((source, kind), ("phr:h1", "fuse.phrfs"))
    for word in ("rw", "nosuid", "nodev", "noatime", "default_permissions", "allow_other", "user_id=0"):
        check(word in words.split(","), f"{word} is not in {words}")
    os.listdir(m.mount_dir)


def test_type_with_fuse_in_front(m):
    m.call("mount", "-t", "fuse.phrfs", "phr:h1", m.mount_dir, "-o", f"config={m.config}", check=True)
    same(options_of(m)[1], "fuse.phrfs")


def test_mount_by_fstab_line(m):
    m.mount_by_fstab()
    same(options_of(m)[0], "phr:h1")
    same(harness.run(["df", "-T", m.mount_dir]).stdout.splitlines()[1].split()[:2], ["phr:h1", "fuse.phrfs"])


def test_mount_all_twice_is_one_mount(m):
    m.call("mount", "-a", "-T", m.fstab, check=True)
    m.call("mount", "-a", "-T", m.fstab, check=True)
    same(m.layers(), 1)


def test_second_mount_by_hand_is_refused(m):
    m.mount_by_fstab()
    done = m.call("mount", "-t", "phrfs", "phr:h1", m.mount_dir, "-o", f"config={m.config}")
    same(done.returncode, 32)
    check("already mounted" in done.stderr, done.stderr)
    same(m.layers(), 1)


def test_remount(m):
    m.mount_by_fstab()
    folder = m.folder if m.fake else m.mount_dir
    m.call("mount", "-o", "remount,ro", m.mount_dir, check=True)
    check("ro" in options_of(m)[2].split(","))
    fails(errno.EROFS, os.utime, folder)
    m.call("mount", "-o", "remount,rw", m.mount_dir, check=True)
    check("rw" in options_of(m)[2].split(","))
    if m.fake:
        os.mkdir(folder / "x")


def test_read_only_mount(m):
    m.call("mount", "-t", "phrfs", "phr:h1", m.mount_dir, "-o", f"ro,config={m.config}", check=True)
    fails(errno.EROFS, os.utime, m.folder if m.fake else m.mount_dir)


def kill_server(m):
    servers = m.pids()
    check(servers, "no phrfs runs")
    for pid in servers:
        os.kill(pid, signal.SIGKILL)
    wait_until("phrfs to be gone", lambda: not m.pids())
    wait_until("the mount to be dead", lambda: is_dead(m))


def is_dead(m):
    """A request that was on its way gets ECONNABORTED; the next one tells."""
    try:
        os.listdir(m.mount_dir)
    except OSError as fault:
        return fault.errno == errno.ENOTCONN
    return False


def test_dead_mount_is_healed(m):
    m.mount_by_fstab()
    kill_server(m)
    fails(errno.ENOTCONN, os.listdir, m.mount_dir)
    same(m.call("mount", "-a", "-T", m.fstab).returncode, 0)  # mount(8) itself sees nothing
    done = m.mount_by_fstab()
    check("dead" in done.stderr, done.stderr)
    os.listdir(m.mount_dir)
    same(m.layers(), 1)


def test_kill_inside_an_invalidation(m):
    """The notifier waits in the kernel for a lookup that died with phrfs, and holds the device."""
    if not m.fake:
        raise Skipped("needs the file system that can be made to wait")
    m.mount_by_fstab()
    looker = subprocess.Popen(["stat", m.folder / "stuck-name"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        pid = wait_until("phrfs", lambda: server(m))[0]
        tasks = pathlib.Path(f"/proc/{pid}/task")
        wait_until("a thread to wait in the kernel",
                   lambda: any(" D " in (t / "stat").read_text() for t in tasks.iterdir()))
        os.kill(pid, signal.SIGKILL)
        same(looker.wait(10), 1)
        wait_until("phrfs to be gone", lambda: not has_threads(pid), 10)
        wait_until("the mount to be dead", lambda: is_dead(m))
        same(m.layers(), 1)  # and still there
    finally:
        looker.kill()
    m.mount_by_fstab()
    os.listdir(m.mount_dir)


def test_dead_mount_of_another_source_is_left(m):
    m.mount_by_fstab()
    kill_server(m)
    done = m.call("mount", "-t", "phrfs", "phr:other", m.mount_dir, "-o", f"config={m.config}")
    same(done.returncode, 32)
    check("umount -l" in done.stderr, done.stderr)


def test_umount_of_a_dead_mount(m):
    m.mount_by_fstab()
    kill_server(m)
    m.call("umount", m.mount_dir, check=True)
    same(m.layers(), 0)


def test_unknown_option_is_named(m):
    done = m.call("mount", "-t", "phrfs", "phr:h1", m.mount_dir, "-o", f"config={m.config},frobnicate=3")
    same(done.returncode, 1)
    check("frobnicate" in done.stderr, done.stderr)
    same(m.layers(), 0)
    m.call("mount", "-s", "-t", "phrfs", "phr:h1", m.mount_dir, "-o", f"config={m.config},frobnicate=3", check=True)


def test_bad_configuration_is_named(m):
    m.config.write_text("[phr]\nhoem = /x\n")
    try:
        done = m.mount_by_fstab(check=False)
    finally:
        m.config.write_text(m.config_text)
    same(done.returncode, 1)
    check(str(m.config) in done.stderr and "hoem" in done.stderr, done.stderr)


def test_open_passfile_is_refused(m):
    keyring, passfile = m.dir / "id.keyring", m.dir / "pass"
    keyring.write_bytes(b"x" * 100)
    keyring.chmod(0o600)
    passfile.write_text("right\n")
    passfile.chmod(0o644)
    words = f"config={m.config},identity={keyring},passfile={passfile}"
    done = m.call("mount", "-t", "phrfs", "phr:h1", m.mount_dir, "-o", words)
    same(done.returncode, 1)
    check("chmod 600" in done.stderr and str(passfile) in done.stderr, done.stderr)
    passfile.chmod(0o600)
    if m.fake:
        m.call("mount", "-t", "phrfs", "phr:h1", m.mount_dir, "-o", words, check=True)
        listing = harness.run(["ps", "-eo", "args"]).stdout
        check(str(passfile) not in listing.replace("ps -eo", ""), "the passfile shows in ps")


def test_wrong_passphrase(m):
    keyring, passfile = m.dir / "id2.keyring", m.dir / "pass2"
    for path, text in ((keyring, "x" * 100), (passfile, "wrong\n")):
        path.write_text(text)
        path.chmod(0o600)
    done = m.call("mount", "-t", "phrfs", "phr:h1", m.mount_dir, "-o",
                  f"config={m.config},identity={keyring},passfile={passfile}")
    same(done.returncode, 32)
    same(m.layers(), 0)
    check("cannot unlock" in done.stderr, done.stderr)


def test_bad_mount_point(m):
    done = m.call("/usr/sbin/mount.phrfs", "phr:h1", m.dir / "none")
    same(done.returncode, 1)
    check("none" in done.stderr, done.stderr)
    (m.dir / "file").touch()
    same(m.call("/usr/sbin/mount.phrfs", "phr:h1", m.dir / "file").returncode, 1)


def test_umount_waits_for_the_end(m):
    m.mount_by_fstab()
    check("helper=phrfs" in pathlib.Path("/run/mount/utab").read_text())
    m.call("umount", m.mount_dir, check=True)
    same(m.pids(), [])
    same(m.layers(), 0)
    check("phrfs" not in pathlib.Path("/run/mount/utab").read_text())
    m.mount_by_fstab()
    os.listdir(m.mount_dir)


def test_busy_umount(m):
    m.mount_by_fstab()
    fd = os.open(m.mount_dir, os.O_RDONLY)
    try:
        done = m.call("umount", m.mount_dir)
        same(done.returncode, 32)
        check("busy" in done.stderr, done.stderr)
        os.listdir(m.mount_dir)
        m.call("umount", "-l", m.mount_dir, check=True)
        same(m.layers(), 0)
        os.listdir(fd)  # lives on until the last handle is closed
    finally:
        os.close(fd)
    wait_until("phrfs to end", lambda: not m.pids())


def test_fake_flag_mounts_nothing(m):
    m.call("mount", "-f", "-t", "phrfs", "phr:h1", m.mount_dir, "-o", f"config={m.config}", check=True)
    same(m.layers(), 0)


def test_odd_names(m):
    place = m.dir / "with space,comma"
    place.mkdir()
    try:
        m.call("mount", "-t", "phrfs", "phr,x", place, "-o", f"config={m.config}", check=True)
        os.listdir(place)
        m.call("umount", place, check=True)
    finally:
        harness.unmount_whatever(str(place).replace(" ", "\\040"))


def test_bdi_is_set(m):
    m.mount_by_fstab()
    st = os.stat(m.mount_dir)
    bdi = pathlib.Path(f"/sys/class/bdi/{os.major(st.st_dev)}:{os.minor(st.st_dev)}")
    if not (bdi / "read_ahead_kb").exists():
        raise Skipped("needs /sys/class/bdi")
    same((bdi / "read_ahead_kb").read_text().strip(), "4096")
    same((bdi / "strict_limit").read_text().strip(), "0")


# ---- phrfs by itself, with its guard ----


def start_direct(m, uid=0, options=""):
    words = f"config={m.config}" + (f",{options}" if options else "")
    args = ["/usr/sbin/phrfs", "phr:h1", str(m.mount_dir), "-o", words]
    if uid:
        args = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *args]
    return m.call(*args)


def server(m):
    return [p for p in m.pids() if pathlib.Path(f"/proc/{p}/comm").read_text().strip() == "phrfs"]


def test_direct_mount_and_term(m):
    same(start_direct(m).returncode, 0)
    os.listdir(m.mount_dir)
    os.kill(server(m)[0], signal.SIGTERM)
    wait_until("the mount to be gone", lambda: m.layers() == 0 and not m.pids(), 10)


def test_guard_takes_away_what_was_killed(m):
    same(start_direct(m).returncode, 0)
    os.kill(server(m)[0], signal.SIGKILL)
    wait_until("the mount to be gone", lambda: m.layers() == 0 and not m.pids(), 10)


def test_direct_failure_leaves_no_mount(m):
    os.rename(m.dir / "run", m.dir / "run.away")
    try:
        done = start_direct(m)
    finally:
        os.rename(m.dir / "run.away", m.dir / "run")
    check(done.returncode == 32 and done.stderr.startswith("phrfs: "), done)
    same(m.layers(), 0)
    same(m.pids(), [])


def test_ordinary_user(m):
    if not shutil.which("fusermount3") or not os.stat(shutil.which("fusermount3")).st_mode & 0o4000:
        raise Skipped("needs a setuid fusermount3")
    if os.stat("/dev/fuse").st_mode & 0o666 != 0o666:
        raise Skipped("needs a /dev/fuse that users may open")
    for place in ("home", "run", "phr"):
        os.chown(m.dir / place, 65534, 65534)
    try:
        done = start_direct(m, uid=65534)
        same((done.returncode, done.stderr), (0, ""))
        same(options_of(m)[:2], ["phr:h1", "fuse.phrfs"])
        os.kill(server(m)[0], signal.SIGTERM)
        wait_until("the mount to be gone", lambda: m.layers() == 0 and not m.pids(), 10)
    finally:
        for place in ("home", "run", "phr"):
            os.chown(m.dir / place, 0, 0)


def test_foreground(m):
    child = subprocess.Popen(["/usr/sbin/phrfs", "-f", "phr:h1", str(m.mount_dir), "-o", f"config={m.config}"],
                             stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_until("the mount", lambda: m.layers() == 1)
        os.listdir(m.mount_dir)
        child.send_signal(signal.SIGINT)
        text = child.communicate(timeout=20)[1].decode()
        check(child.returncode == 0, text)
        same(m.layers(), 0)
    finally:
        child.kill()


def main():
    opts = harness.arguments(__doc__.splitlines()[0]).parse_args()
    try:
        harness.need_root_and_fuse()
        enter_namespace()
        with Machine(opts.build, opts.fake) as machine:
            def prepared(_):
                machine.clean()
                return machine
            failed = harness.run_tests(harness.tests_of(sys.modules[__name__]), prepared,
                                       watch=machine.mount_dir, only=opts.only)[1]
    except Skipped as why:
        print(f"skipped: {why}")
        return harness.SKIP
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

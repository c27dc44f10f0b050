"""A realm for one run: directories, phrd, a mount, identities, and their end.

Used by the demo and by the system tests. Everything lies in one directory; every process is
ended by its pid and every wait has an end. A hung mount is aborted through
/sys/fs/fuse/connections before it is unmounted lazily, because a process stuck in FUSE
ignores even SIGKILL.
"""
import json
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import tempfile
import time

WAIT_S = 30


class Failed(Exception):
    """A command or a check did not do what was expected."""


def wait_until(what, question, seconds=WAIT_S, pause=0.05):
    """Asks until the answer is true; returns it. Failed names what was waited for."""
    end = time.monotonic() + seconds
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise Failed(f"waited {seconds} s for {what}")
        time.sleep(pause)


def is_mounted(path):
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        return any(line.split()[4] == str(path) for line in mounts)


def has_threads(pid):
    """Nobody may have asked for a dead process's status yet; its last thread makes it dead."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        state = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return len(tasks) > 1 or state not in "ZX"


def abort_fuse(path):
    """Ends every request of a mount with an error, so that nothing stays stuck in it."""
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            fields = line.split()
            if fields[4] == str(path):
                minor = fields[2].split(":")[1]
                knob = pathlib.Path(f"/sys/fs/fuse/connections/{minor}/abort")
                if knob.exists():
                    knob.write_text("1")


class Realm:
    def __init__(self, build, base=None, store_url=None, credentials=None, settings=None):
        self.build = pathlib.Path(build).resolve()
        self.dir = pathlib.Path(base or tempfile.mkdtemp(prefix="phr-"))
        self.dir.mkdir(parents=True, exist_ok=True)
        self.dir.chmod(0o755)
        self.home = self.dir / "home"
        self.run_dir = self.dir / "run"
        self.mount_dir = self.dir / "phr"
        self.conf = self.home / "phr.conf"
        self.secrets = self.dir / "passphrases"
        self.secrets.mkdir(mode=0o755, exist_ok=True)
        self.mount_dir.mkdir(exist_ok=True)
        self.run_dir.mkdir(exist_ok=True)
        self.store_url = store_url
        self.credentials = credentials
        self.settings = settings or {}
        self.phrd = None
        self.phrd_log = self.dir / "phrd.log"
        self.phrfs_log = self.dir / "phrfs.log"
        self.bin = self.dir / "bin"
        self.install()
        self.env = dict(os.environ, PHR_HOME=str(self.home), PHR_RUN=str(self.run_dir),
                        PHR_CONFIG=str(self.conf), PATH=f"{self.bin}:{os.environ.get('PATH', '')}")

    def install(self):
        """The programs side by side, as an installation has them: they find each other there."""
        self.bin.mkdir(exist_ok=True)
        for program in ("tools/phr/phr", "src/sidecar/phrd", "src/mount/phrfs", "tools/mount/mount.phrfs",
                        "tools/mount/umount.phrfs"):
            target = self.bin / os.path.basename(program)
            if not target.exists():
                shutil.copy2(self.build / program, target)

    # ---- commands -------------------------------------------------------------------------

    def passfile(self, label, uid=0):
        """The passphrase of an identity in a file of its own, readable by its owner alone."""
        path = self.secrets / label
        if not path.exists():
            path.write_text(secrets.token_hex(12) + "\n")
            path.chmod(0o600)
        if uid:
            os.chown(path, uid, uid)
        return str(path)

    def command(self, args, uid=0, check=True, timeout=120, text=True, **more):
        """Runs a program as uid; its result. Failed with both outputs when it fails and check."""
        args = [str(a) for a in args]
        if uid:
            args = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *args]
        done = subprocess.run(args, env=self.env, capture_output=True, text=text, timeout=timeout,
                              check=False, stdin=subprocess.DEVNULL, **more)
        if check and done.returncode != 0:
            raise Failed(f"{' '.join(args)}\n  exit {done.returncode}\n  {done.stdout}\n  {done.stderr}")
        return done

    def phr(self, *args, uid=0, check=True, timeout=120):
        return self.command([self.bin / "phr", *args], uid=uid, check=check, timeout=timeout)

    def phr_json(self, *args, uid=0):
        return json.loads(self.phr(*args, "--json", uid=uid).stdout)

    # ---- setting up -----------------------------------------------------------------------

    def init(self):
        args = ["init", "--passfile", self.passfile("authority")]
        if self.store_url:
            args += ["--store", self.store_url]
        if self.credentials:
            args += ["--credentials", self.credentials]
        self.phr(*args)
        if self.settings:
            with open(self.conf, "a", encoding="utf-8") as conf:
                for section, pairs in self.settings.items():
                    conf.write(f"\n[{section}]\n")
                    for key, value in pairs.items():
                        conf.write(f"{key} = {value}\n")
        for path in (self.dir, self.home, self.home / "keys"):
            path.chmod(0o755)

    def identity(self, label, role="person", uid=0):
        passfile = self.passfile(label, uid)
        args = ["identity", "new", label, "--role", role, "--passfile", passfile]
        self.phr(*args)
        self.phr("identity", "approve", label, "--passfile", self.passfile("authority"))
        if uid:
            os.chown(self.home / "keys" / f"{label}.keyring", uid, uid)

    def patient(self, name, uid=0):
        self.phr("patient", "add", name, "--passfile", self.passfile(name, uid),
                 "--authority-passfile", self.passfile("authority"))
        if uid:
            os.chown(self.home / "keys" / f"{name}.keyring", uid, uid)

    def grant(self, what, to, rights="r"):
        patient = what.split("/")[0]
        return self.phr("grant", what, "--to", to, "--rights", rights, "--passfile", self.passfile(patient))

    def revoke(self, what, reader, check=True):
        patient = what.split("/")[0]
        return self.phr("revoke", what, "--from", reader, "--passfile", self.passfile(patient), check=check)

    def login(self, label, uid=0):
        return self.phr("login", label, "--mount", self.mount_dir, "--passfile", self.passfile(label, uid),
                        uid=uid)

    # ---- processes ------------------------------------------------------------------------

    def start_phrd(self):
        log = open(self.phrd_log, "ab")
        self.phrd = subprocess.Popen([self.bin / "phrd", "--foreground", "--config", self.conf],
                                     env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                     cwd="/")
        log.close()
        wait_until("phrd to listen", self.is_phrd_up)

    def is_phrd_up(self):
        if self.phrd.poll() is not None:
            raise Failed(f"phrd ended with {self.phrd.returncode}: {self.phrd_log.read_text()[-2000:]}")
        return self.phr("status", "--json", check=False).returncode == 0 or \
            (self.run_dir / "phrd.sock").exists()

    def stop_phrd(self, sig=signal.SIGTERM):
        if self.phrd and self.phrd.poll() is None:
            self.phrd.send_signal(sig)
            try:
                self.phrd.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                self.phrd.kill()
                self.phrd.wait(WAIT_S)
        self.phrd = None

    def mount(self, options=""):
        words = f"config={self.conf}" + (f",{options}" if options else "")
        log = open(self.phrfs_log, "ab")
        done = subprocess.run([self.bin / "mount.phrfs", "phr", self.mount_dir, "-o", words],
                              env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                              timeout=WAIT_S * 2, check=False, cwd="/")
        log.close()
        if done.returncode != 0:
            raise Failed(f"mount.phrfs ended with {done.returncode}: {self.phrfs_log.read_text()[-2000:]}")

    def log_files(self):
        """Where the processes of this realm write what they have to say."""
        return [p for p in (self.phrd_log, self.phrfs_log, *self.run_dir.glob("*.log")) if p.exists()]

    def phrfs_pid(self):
        """The file system's process: the one that holds the vault's lock."""
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                argv = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if argv and os.path.basename(argv[0]) == b"phrfs" and str(self.conf).encode() in b"\0".join(argv):
                return int(entry.name)
        return None

    def kill_phrfs(self):
        pid = self.phrfs_pid()
        if pid:
            os.kill(pid, signal.SIGKILL)
            wait_until("phrfs to be gone", lambda: not has_threads(pid))
        subprocess.run(["umount", "-l", self.mount_dir], check=False, capture_output=True)

    def umount(self):
        if not is_mounted(self.mount_dir):
            return
        done = subprocess.run(["umount", self.mount_dir], check=False, capture_output=True, timeout=WAIT_S)
        if done.returncode != 0 and is_mounted(self.mount_dir):
            raise Failed(f"umount: {done.stderr.decode()}")
        try:
            wait_until("phrfs to end", lambda: self.phrfs_pid() is None)
        except Failed:
            os.kill(self.phrfs_pid(), signal.SIGKILL)
            raise

    def close(self):
        """Ends all, whatever state it is in. Never raises for what is gone already."""
        if is_mounted(self.mount_dir):
            try:
                done = subprocess.run(["umount", self.mount_dir], check=False, capture_output=True, timeout=10)
            except subprocess.TimeoutExpired:
                done = None
            if done is None or done.returncode != 0:
                abort_fuse(self.mount_dir)
                subprocess.run(["umount", "-l", self.mount_dir], check=False, capture_output=True)
        end = time.monotonic() + 10
        while self.phrfs_pid() and time.monotonic() < end:
            time.sleep(0.05)
        pid = self.phrfs_pid()
        if pid:
            os.kill(pid, signal.SIGKILL)
        self.stop_phrd()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

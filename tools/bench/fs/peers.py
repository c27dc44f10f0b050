"""The file systems that are measured, each behind the same few calls.

A peer is made on a fresh disk and closed with it:
  prepare(), mount(), umount(), cold()   cold: all local state on the disk, mounted anew, caches dropped
  settle()                    what a peer does behind the caller's back is over; seconds it took
  write(...), read(...)       a job of fs_load as who writes here, as who reads here
"""
import json
import os
import subprocess
import time

from machine import (build_passthrough, command, cpu_seconds, drop_caches, end_process, install_package,
                     raise_priority, say, unmount, wait_for)
from realm import Failed, Realm, is_mounted

READER_UID = 20003
PASSWORD = "benchmark"


class Peer:
    name = "?"
    package = None
    is_encrypted = True
    is_ours = False
    is_reader = False

    def __init__(self, tools, disk):
        self.tools = tools
        self.disk = disk
        self.dir = disk.dir
        self.folder = disk.dir / "plain"
        self.store = disk.dir / "cipher"
        self.process = None

    @classmethod
    def available(cls, tools):
        """False, with a line that says why, when this machine can't have it."""
        return cls.package is None or install_package(cls.package)

    def prepare(self):
        self.folder.mkdir()
        self.store.mkdir()

    def arguments(self):
        """The command that mounts and stays in the foreground."""
        raise NotImplementedError

    def mount(self):
        with open(self.tools.work / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen([str(a) for a in self.arguments()], stdin=subprocess.PIPE, stdout=log,
                                            stderr=log, env=self.environment(), cwd="/")
        self.process.stdin.write(f"{PASSWORD}\n".encode())
        self.process.stdin.close()
        wait_for(f"{self.name} to be mounted", self.is_up)

    def is_up(self):
        if self.process.poll() is not None:
            raise Failed(f"{self.name} ended with {self.process.returncode}, see its log")
        return is_mounted(self.folder)

    def environment(self):
        return dict(os.environ, HOME=str(self.dir))

    def umount(self):
        unmount(self.folder)
        if self.process:
            try:
                self.process.wait(30)
            finally:
                end_process(self.process)
                self.process = None

    def cold(self):
        self.settle()
        self.umount()
        self.disk.sync()
        drop_caches()
        self.mount()

    def settle(self):
        self.disk.sync()
        return 0.0

    def pids(self):
        return [self.process.pid] if self.process else []

    def sidecar_pids(self):
        return []

    def close(self):
        if is_mounted(self.folder):
            unmount(self.folder)
        if self.process:
            end_process(self.process)

    # ---- jobs -------------------------------------------------------------------------------

    def run_load(self, words, uid=0):
        raise_priority([*self.pids(), *self.sidecar_pids()], os.getpriority(os.PRIO_PROCESS, 0))
        words = [str(self.tools.load), *(str(w) for w in words)]
        if uid:
            words = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *words]
        before = cpu_seconds(self.pids()), cpu_seconds(self.sidecar_pids())
        done = command(words, timeout=3600, env=dict(os.environ, LC_ALL="C"))
        result = json.loads(done.stdout)
        result["server_cpu_s"] = round(cpu_seconds(self.pids()) - before[0], 3)
        result["sidecar_cpu_s"] = round(cpu_seconds(self.sidecar_pids()) - before[1], 3)
        return result

    def write(self, *words):
        return self.run_load(words)

    def read(self, *words):
        return self.run_load(words)


class Ext4(Peer):
    name = "ext4"
    is_encrypted = False

    def mount(self):
        pass

    def umount(self):
        pass


class Passthrough(Peer):
    name = "passthrough"
    is_encrypted = False

    @classmethod
    def available(cls, tools):
        try:
            tools.passthrough = build_passthrough(tools.work)
        except Failed as error:
            say(f"passthrough_hp: {error}")
            return False
        tools.passthrough_help = command([tools.passthrough, "--help"], check=False).stdout
        return True

    def arguments(self):
        # Newer ones hand files to the kernel, which then never asks: no measure of a FUSE server.
        flags = [f for f in ("--foreground", "--nopassthrough") if f in self.tools.passthrough_help]
        return [self.tools.passthrough, *flags, self.store, self.folder]


class Gocryptfs(Peer):
    name = "gocryptfs"
    package = "gocryptfs"

    def prepare(self):
        super().prepare()
        command(["gocryptfs", "-q", "-init", self.store], input=f"{PASSWORD}\n{PASSWORD}\n")

    def arguments(self):
        return ["gocryptfs", "-q", "-fg", self.store, self.folder]


class Encfs(Peer):
    name = "encfs"
    package = "encfs"

    def arguments(self):
        return ["encfs", "-f", "--standard", f"--extpass=echo {PASSWORD}", self.store, self.folder]


class Securefs(Peer):
    name = "securefs"
    package = "securefs"

    def prepare(self):
        super().prepare()
        # Its usual stretching of the password takes seconds a mount, and is in no figure.
        command(["securefs", "create", "--pass", PASSWORD, "--pbkdf", "pkcs5-pbkdf2-hmac-sha256", "-r", "1000",
                 self.store])

    def arguments(self):
        return ["securefs", "mount", "--pass", PASSWORD, self.store, self.folder]


class Cryfs(Peer):
    name = "cryfs"
    package = "cryfs"

    def environment(self):
        return dict(super().environment(), CRYFS_FRONTEND="noninteractive", CRYFS_NO_UPDATE_CHECK="true")

    def arguments(self):
        return ["cryfs", "-f", self.store, self.folder]

    def cold(self):
        """Without a new mount: its stretching of the password takes 13 s and 1 GB, and what it keeps
        in its own memory is a few MiB for a second."""
        self.settle()
        time.sleep(1)
        drop_caches()


class Phrfs(Peer):
    """As the patient, who is root here, mounted by mount.phrfs with its defaults."""

    name = "phrfs"
    is_ours = True
    options = ""
    realm = None
    mount_seconds = 0.0  # without the login, which is a second of Argon2id

    def prepare(self):
        """A realm is made once a run, with its seconds of Argon2id, and copied to each disk after."""
        base, made = self.dir / "realm", self.tools.realms / self.name
        if made.exists():
            command(["cp", "-a", made, base])
        self.realm = Realm(self.tools.build, base=base, settings=getattr(self.tools, "settings", None))
        if made.exists():
            self.realm.start_phrd()
        else:
            self.realm.init()
            self.realm.start_phrd()
            self.make_people()
            self.realm.stop_phrd()
            command(["cp", "-a", base, made])
            self.realm.start_phrd()
        self.folder = self.realm.mount_dir / "alice" / "imaging"

    def make_people(self):
        self.realm.patient("alice")

    def mount(self):
        start = time.monotonic()
        self.realm.mount(self.options)
        self.mount_seconds = time.monotonic() - start
        self.realm.login("alice")

    def umount(self):
        self.realm.umount()

    def settle(self):
        start = time.monotonic()
        self.realm.phr("sync", "--wait", "--timeout", "3600", timeout=3700)
        self.disk.sync()
        return time.monotonic() - start

    def pids(self):
        pid = self.realm.phrfs_pid()
        return [pid] if pid else []

    def sidecar_pids(self):
        return [self.realm.phrd.pid]

    def close(self):
        if self.realm:
            self.realm.close()


class PhrfsReader(Phrfs):
    """The patient writes; who reads is a person with a grant, under an own uid."""

    name = "phrfs-reader"
    is_reader = True
    options = "allow_other"

    def make_people(self):
        super().make_people()
        self.realm.identity("dr.wilson", uid=READER_UID)
        self.realm.grant("alice/imaging", "dr.wilson")

    def mount(self):
        super().mount()
        self.realm.login("dr.wilson", READER_UID)

    def read(self, *words):
        return self.run_load(words, READER_UID)


ALL = [Ext4, Passthrough, Gocryptfs, Encfs, Securefs, Cryfs, Phrfs, PhrfsReader]

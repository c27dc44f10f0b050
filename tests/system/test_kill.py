#!/usr/bin/env python3
"""kill -9 of phrfs, of phrd and of both, at random moments: nothing acknowledged is lost (P5), no
byte is wrong (P6), no release lacks its record (P2), recovery needs no hand work.

  test_kill.py --build DIR [--rounds N] [--seed S]

One patient, her owner on the mount as writer, one granted reader. In each round a writer changes
files and says what was acknowledged, a reader opens files, sealing runs with short delays, and
every eighth round an epoch change (grant and revoke of a second reader) runs beside them. Then
comes the kill, a new start, and the comparison.
"""
import argparse
import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools" / "demo"))
from realm import Failed, Realm, has_threads, is_mounted, wait_until  # noqa: E402

READER_UID = 20003
BLOCK = 4096
EPOCH_EVERY = 8
STOP = []  # in a loop's own process: filled by SIGTERM


def is_stopped():
    return bool(STOP)


def block_of(name, version, index, length=BLOCK):
    """The bytes of one block, known from name, version and place alone."""
    seed = hashlib.sha256(f"{name}/{version}/{index}".encode()).digest()
    return (seed * (length // 32 + 1))[:length]


def content(name, version, size):
    blocks = (size + BLOCK - 1) // BLOCK
    return b"".join(block_of(name, version, i, min(BLOCK, size - i * BLOCK)) for i in range(blocks))


# ---- the writer: a process of its own; each line of its report is written before or after one act ----


def writer(folder, report_path, seed, known):
    rng = random.Random(seed)
    report = open(report_path, "a", buffering=1, encoding="utf-8")

    def tell(state, **fact):
        report.write(json.dumps(dict(fact, state=state)) + "\n")

    names = dict(known)  # name -> [version, size]
    number = 0
    while not is_stopped():
        number += 1
        act = rng.choice(["create", "create", "rewrite", "patch", "patch_sync", "rename", "unlink", "mkdir"])
        name = rng.choice(sorted(names)) if names and act != "create" else f"f{seed:x}-{number}"
        path = os.path.join(folder, name)
        if act in ("create", "rewrite"):
            version = names.get(name, [0, 0])[0] + 1
            size = rng.choice([0, 1, 100, 5000, 70000, 600000, 5 * 1024 * 1024])
            tell("begin", act="write", name=name, version=version, size=size)
            with open(path, "wb") as f:
                f.write(content(name, version, size))
            tell("done", act="write", name=name, version=version, size=size)
            names[name] = [version, size]
        elif act in ("patch", "patch_sync") and name in names and names[name][1] >= BLOCK:
            version, size = names[name][0] + 1, names[name][1]
            first = rng.randrange(size // BLOCK)
            count = rng.randint(1, min(8, size // BLOCK - first))
            fact = {"act": "patch", "name": name, "version": version, "first": first, "count": count}
            tell("begin", **fact)
            fd = os.open(path, os.O_RDWR)
            for i in range(first, first + count):
                os.pwrite(fd, block_of(name, version, i), i * BLOCK)
            if act == "patch_sync":
                os.fsync(fd)
            os.close(fd)
            tell("done", **fact)
            names[name][0] = version
        elif act == "rename" and name in names:
            target = name + "r" if len(name) < 100 else f"s{seed:x}-{number}"
            if target in names:
                continue
            tell("begin", act="rename", name=name, target=target)
            os.rename(path, os.path.join(folder, target))
            tell("done", act="rename", name=name, target=target)
            names[target] = names.pop(name)
        elif act == "unlink" and len(names) > 12:
            tell("begin", act="unlink", name=name)
            os.unlink(path)
            tell("done", act="unlink", name=name)
            del names[name]
        elif act == "mkdir":
            tell("begin", act="mkdir", name=f"d{seed:x}-{number}")
            os.mkdir(os.path.join(folder, f"d{seed:x}-{number}"))
            tell("done", act="mkdir", name=f"d{seed:x}-{number}")


def reader(folder, report_path, seed):
    rng = random.Random(seed)
    report = open(report_path, "a", buffering=1, encoding="utf-8")
    while not is_stopped():
        try:
            name = rng.choice(sorted(n for n in os.listdir(folder) if not n.startswith("d")))
            fd = os.open(os.path.join(folder, name), os.O_RDONLY)
            report.write("opened\n")
            os.pread(fd, 100, 0)
            os.close(fd)
        except (OSError, IndexError):
            time.sleep(0.01)


def fork_loop(work, uid=0):
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.signal(signal.SIGTERM, lambda *_: STOP.append(True))
        if uid:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
        work()
    except OSError:
        pass  # the mount went away under it: that is the test
    finally:
        os._exit(0)


def end_loop(pid, seconds=20):
    """After the act that it is in: a process killed inside a rename leaves an EIO for whoever
    closes that file next, which is the kernel's (it notes the time stamps it could not send)."""
    os.kill(pid, signal.SIGTERM)
    try:
        wait_until("a loop to end", lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, seconds, 0.005)
    except Failed:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


# ---- what must be there -------------------------------------------------------------------------


class Model:
    """Files as acknowledged, and for each the block versions that an interrupted act may have left."""

    def __init__(self):
        self.files = {}    # name -> {"size": n, "blocks": [version, …], "version": newest}
        self.dirs = set()
        self.opens = 0

    def known(self):
        return {name: [f["version"], f["size"]] for name, f in self.files.items()}

    def take(self, lines):
        """Applies what was acknowledged; returns the act that was interrupted, if any."""
        open_act = None
        for line in lines:
            fact = json.loads(line)
            if fact["state"] == "begin":
                open_act = fact
                continue
            open_act = None
            self.apply(fact)
        return open_act

    def apply(self, fact):
        act, name = fact["act"], fact["name"]
        if act == "write":
            blocks = (fact["size"] + BLOCK - 1) // BLOCK
            self.files[name] = {"size": fact["size"], "blocks": [(name, fact["version"])] * blocks,
                                "version": fact["version"]}
        elif act == "patch":
            for i in range(fact["first"], fact["first"] + fact["count"]):
                self.files[name]["blocks"][i] = (name, fact["version"])
            self.files[name]["version"] = fact["version"]
        elif act == "rename":
            self.files[fact["target"]] = self.files.pop(name)
        elif act == "unlink":
            del self.files[name]
        elif act == "mkdir":
            self.dirs.add(name)

    def check(self, folder, interrupted):
        names = set(os.listdir(folder))
        touched = {interrupted["name"], interrupted.get("target")} if interrupted else set()
        missing = (set(self.files) | self.dirs) - names - touched
        foreign = names - set(self.files) - self.dirs - touched
        if missing or foreign:
            raise Failed(f"names lost: {sorted(missing)[:5]}, names from nowhere: {sorted(foreign)[:5]}")
        for name, f in self.files.items():
            if name not in touched:
                self.check_file(folder, name, f, None)
        if interrupted:
            self.settle(folder, interrupted, names)

    @staticmethod
    def check_file(folder, name, f, also):
        """also: (name, version) that each block may have instead, and its size the file."""
        data = pathlib.Path(folder, name).read_bytes()
        if also is None and len(data) != f["size"]:
            raise Failed(f"{name}: {len(data)} bytes instead of {f['size']}, "
                         f"{size_without_caches(folder, name)} without the kernel's caches")
        for i in range((len(data) + BLOCK - 1) // BLOCK):
            got = data[i * BLOCK:(i + 1) * BLOCK]
            fits = []
            if i < len(f["blocks"]):
                fits.append(block_of(*f["blocks"][i], i, len(got)))
            if also:
                fits.append(block_of(*also, i, len(got)))
                fits.append(bytes(len(got)))  # never written yet: a hole
            if got not in fits:
                raise Failed(f"{name}: block {i} of {len(data)} bytes is neither old nor new")

    def settle(self, folder, act, names):
        """The interrupted act: old or new; then the model goes on from what is there."""
        name = act["name"]
        if act["act"] == "mkdir":
            if name in names:
                self.dirs.add(name)
        elif act["act"] == "unlink":
            if name in names:
                self.check_file(folder, name, self.files[name], None)
            else:
                del self.files[name]
        elif act["act"] == "rename":
            if (name in names) == (act["target"] in names):
                raise Failed(f"rename of {name}: both or neither name is there")
            if act["target"] in names:
                self.apply(act)
            where = act["target"] if act["target"] in names else name
            self.check_file(folder, where, self.files[where], None)
        else:
            old = self.files.get(name, {"size": 0, "blocks": []})
            if name not in names:
                if name in self.files:
                    raise Failed(f"{name} vanished while it was written")
                return
            self.check_file(folder, name, old, (name, act["version"]))
            os.unlink(os.path.join(folder, name))  # of unknown versions: not part of the next round
            self.files.pop(name, None)


def size_without_caches(folder, name):
    """Tells a wrong size in the kernel's cache from one in the vault."""
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("2")
    return len(pathlib.Path(folder, name).read_bytes())


# ---- rounds -------------------------------------------------------------------------------------


class Story:
    def __init__(self, realm, seed):
        self.realm = realm
        self.rng = random.Random(seed)
        self.model = Model()
        self.folder = realm.mount_dir / "alice" / "labs" / "kills"
        self.reports = realm.dir / "reports"
        self.reports.mkdir()
        self.reports.chmod(0o777)

    def set_up(self):
        self.realm.init()
        self.realm.start_phrd()
        self.realm.identity("dr.wilson", uid=READER_UID)
        self.realm.identity("dr.meyer")
        self.realm.patient("alice")
        self.realm.grant("alice/labs", "dr.wilson")
        self.start()
        self.folder.mkdir()

    def start(self):
        """As an administrator's units would: phrd where it is not running, then the mount."""
        if self.realm.phrd is None:
            self.realm.start_phrd()
        if not is_mounted(self.realm.mount_dir):
            self.realm.mount("allow_other")
            self.realm.login("alice")
            self.realm.login("dr.wilson", READER_UID)

    def kill(self, victims):
        if "phrfs" in victims:
            pid = self.realm.phrfs_pid()
            os.kill(pid, signal.SIGKILL)
        if "phrd" in victims:
            self.realm.phrd.kill()
            self.realm.phrd.wait(30)
            self.realm.phrd = None
        if "phrfs" in victims:
            wait_until("phrfs to be gone", lambda: not has_threads(pid))
            subprocess.run(["umount", "-l", self.realm.mount_dir], check=False, capture_output=True)

    def epoch_change(self):
        """In the background; it may fail when its servers die, and is resumed by the next one."""
        script = (f"{self.realm.bin}/phr grant alice/labs --to dr.meyer --rights r "
                  f"--passfile {self.realm.passfile('alice')}; "
                  f"{self.realm.bin}/phr revoke alice/labs --from dr.meyer "
                  f"--passfile {self.realm.passfile('alice')}")
        return subprocess.Popen(["sh", "-c", script], env=self.realm.env, stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def round(self, number):
        victims = self.rng.choice([("phrfs",), ("phrd",), ("phrfs", "phrd")])
        acks = self.reports / f"writer-{number}"
        opens = self.reports / f"reader-{number}"
        acks.touch()
        opens.touch()
        opens.chmod(0o666)
        seed = self.rng.getrandbits(32)
        known = self.model.known()
        change = self.epoch_change() if number % EPOCH_EVERY == 0 else None
        pids = [fork_loop(lambda: writer(str(self.folder), acks, seed, known)),
                fork_loop(lambda: reader(str(self.folder), opens, seed), READER_UID)]
        time.sleep(self.rng.uniform(0.02, 1.2 if change else 0.6))
        try:
            self.kill(victims)
            if "phrfs" not in victims:
                time.sleep(self.rng.uniform(0.02, 0.3))  # the mount works on without phrd
        finally:
            for pid in pids:
                end_loop(pid)
            if change:
                wait_until("the epoch change to end", lambda: change.poll() is not None, 90)
        self.start()
        interrupted = self.model.take(acks.read_text().splitlines())
        self.model.opens += len(opens.read_text().splitlines())
        self.model.check(self.folder, interrupted)
        return victims

    def check_records(self):
        """Every open that the reader was told of has a record (P2); the log verifies."""
        self.realm.phr("sync", "--wait", timeout=180)
        rows = self.realm.phr_json("audit", "show", "--who", "dr.wilson", "--raw")
        recorded = sum(1 for r in rows if r["op"] in ("open", "release") and r["outcome"] == 0)
        if recorded < self.model.opens:
            raise Failed(f"{self.model.opens} opens succeeded, {recorded} are in the log")
        gaps = [r for r in self.realm.phr_json("audit", "show", "--raw") if r["op"] == "gap"]
        if gaps:
            raise Failed(f"{len(gaps)} gaps in the events of the mount")
        self.realm.phr("audit", "verify")
        return recorded


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None)
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else random.SystemRandom().getrandbits(32)
    print(f"seed {seed}", flush=True)
    settings = {"vault": {"seal_delay_ms": 150, "temp_age_ms": 200}}
    with Realm(args.build, settings=settings) as realm:
        story = Story(realm, seed)
        story.set_up()
        number = 0
        try:
            for number in range(1, args.rounds + 1):
                victims = story.round(number)
                if number % 10 == 0:
                    print(f"round {number}: {'+'.join(victims)}, {len(story.model.files)} files", flush=True)
            recorded = story.check_records()
        except (Failed, OSError, subprocess.TimeoutExpired) as failure:
            print(f"round {number}, seed {seed}: {failure}\nkept: {realm.dir}")
            return 1
        print(f"{args.rounds} rounds, {story.model.opens} opens by the reader, {recorded} recorded")
    subprocess.run(["rm", "-rf", realm.dir], check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())

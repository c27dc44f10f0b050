#!/usr/bin/env python3
"""A power cut at every sync: what fsync accepted is whole, all else old, new or cleanly absent.

  test_powercut.py --build DIR [--workloads N] [--per-boundary N] [--mounts N] [--seed S]
                   [--keep] [--run DIR [--only BOUNDARY --variant V --image-seed S]]

One workload runs on a real mount whose home lies on recfs, which writes down every change and
every sync below it. The replayer then builds, for each sync of the vault, the disks that a power
cut just before it may leave: what was not synced dropped, kept, torn at 512 and 4,096 bytes, mixed.
It opens each with the vault's own code and tells every name, size and block, and what a check
says. A third of them goes on writing before anything is read. Some images get a real phrd and a
real mount, where after a sync the object store must have everything too.

A run with faults is kept; --run DIR replays it, with --only one image (the line that failed says which).
"""
import argparse
import hashlib
import json
import os
import pathlib
import pickle
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time

from harness import SKIP, Skipped, need_programs, need_root_and_fuse, unmount_whatever
from realm import Failed, Realm, is_mounted, wait_until

BLOCK = 4096
COUNT = "user.recfs.count"
SETTLE = "user.recfs.settle"
MADE = "alice/labs/after-the-cut"
SETTINGS = {"vault": {"seal_delay_ms": 300, "temp_age_ms": 600}}


def token_bytes(token):
    """The bytes of one block; None: a hole; a cut one is zeros behind its length."""
    if token is None:
        return bytes(BLOCK)
    if token[0] == "cut":
        return token_bytes(token[1])[:token[2]] + bytes(BLOCK - token[2])
    seed = hashlib.sha256(repr(token).encode()).digest()
    return seed * (BLOCK // 32)


DIGESTS = {}


def token_digest(token, length):
    key = (token, length)
    if key not in DIGESTS:
        DIGESTS[key] = hashlib.sha256(token_bytes(token)[:length]).hexdigest()[:16]
    return DIGESTS[key]


# ---- what happened -----------------------------------------------------------------------------


class State:
    """A file as one act made it. begin, end: records before the act and after its answer."""

    def __init__(self, size, tokens, begin, end):
        self.size, self.tokens, self.begin, self.end = size, tokens, begin, end


class History:
    """States of files (by number) and of all names, with the place of each in the journal."""

    def __init__(self):
        self.files = {}   # number -> [State]
        self.synced = {}  # number -> [(state index, end, path)]
        self.names = []   # (begin, end, {path: number}, {dirs})
        self.names_synced = []  # (index into names, end)

    def bounds(self, number, position):
        """The oldest state that the file may be in, None when it may be absent, and the newest."""
        states = self.files[number]
        low = [i for i, end, _ in self.synced.get(number, []) if end <= position]
        high = [i for i, s in enumerate(states) if s.begin < position]
        return (max(low) if low else None), (max(high) if high else None)

    def check_file(self, number, position, size, digests):
        """None, or what is wrong with these bytes."""
        low, high = self.bounds(number, position)
        if high is None:
            return "is there before it was made"
        states = self.files[number][low or 0:high + 1]
        sizes = [s.size for s in states]
        if not min(sizes) <= size <= max(sizes):
            return f"has {size} bytes, not one of {sorted(set(sizes))}"
        for i in range((size + BLOCK - 1) // BLOCK):
            length = min(BLOCK, size - i * BLOCK)
            have = digests[i * 16:i * 16 + 16]
            if not any(self.block_is(s, i, length, have) for s in states):
                return f"block {i} of {size} bytes is foreign ({have}); states {low}..{high}"
        return None

    @staticmethod
    def block_is(state, i, length, have):
        if i * BLOCK >= state.size:
            return have == token_digest(None, length)
        token = state.tokens[i] if i < len(state.tokens) else None
        if token_digest(token, length) == have:
            return True
        inside = min(BLOCK, state.size - i * BLOCK)
        if inside >= length:
            return False
        padded = token_bytes(token)[:inside] + bytes(length - inside)
        return hashlib.sha256(padded).hexdigest()[:16] == have

    def check(self, position, image):
        """Faults of what a vault told of an image."""
        faults = list(image.get("errors", []))
        if "broken" in image or "died" in image:
            return [f"the vault does not open: {image.get('broken', image.get('died'))}"]
        if image.get("check") is not None and image["check"].get("count", 0):
            faults.append(f"check finds damage: {image['check']}")
        files, dirs = dict(image["files"]), {d for d in image["dirs"] if d.startswith("alice/labs/")}
        made = image.get("made")
        if made:
            wanted = hashlib.sha256(b"m" * BLOCK).hexdigest()[:16]
            size, digests = files.pop(made, (0, ""))
            if size != 300000 or digests[:16 * (size // BLOCK)] != wanted * (size // BLOCK):
                faults.append(f"{made}, synced after the cut: {size} bytes")
        faults += self.check_names(position, set(files), dirs, image.get("unlinked"))
        for path, (size, digests) in files.items():
            if size < 0:
                continue  # among the errors
            numbers = {names[path] for begin, _, names, _ in self.names
                       if begin < position and path in names}
            why = [self.check_file(n, position, size, digests) for n in numbers]
            if not numbers or all(why):
                faults.append(f"{path} {'; '.join(filter(None, why))}")
        return faults

    def check_names(self, position, files, dirs, unlinked):
        """The tree is as it was after some change, and not before what was synced."""
        high = max(i for i, (begin, *_) in enumerate(self.names) if begin < position)
        low = max((i for i, end in self.names_synced if end <= position), default=0)
        for number, synced in self.synced.items():
            for _, end, _ in synced:  # a file is there under a name that it had; renames are the directory's
                if end <= position:
                    first = min(i for i, (_, e, names, _) in enumerate(self.names)
                                if e <= end and number in names.values())
                    low = max(low, min(first, high))
        gone = {unlinked} - {None, ""}
        for _, _, names, known in self.names[low:high + 1]:
            if set(names) - gone == files and known == dirs:
                return []
        newest = self.names[high]
        return [f"names are of no moment {low}..{high}: too many {sorted(files - set(newest[2]))}, "
                f"too few {sorted(set(newest[2]) - files - gone)}, dirs {sorted(dirs ^ newest[3])}"]


# ---- the workload ------------------------------------------------------------------------------


class Workload:
    """Acts on the mount, and what each made of the model."""

    def __init__(self, top, home, history, rng):
        self.top, self.home, self.history, self.rng = top, home, history, rng
        self.names, self.dirs = {}, set()
        self.made = 0

    def count(self):
        return int(os.getxattr(self.home, COUNT))

    def path(self, name):
        return self.top / name

    def note_names(self, begin):
        prefix = {f"alice/labs/{k}": v for k, v in self.names.items()}
        dirs = {f"alice/labs/{d}" for d in self.dirs}
        self.history.names.append((begin, self.count(), prefix, dirs))

    def note_state(self, number, size, tokens, begin):
        self.history.files.setdefault(number, []).append(State(size, tokens, begin, self.count()))

    def note_sync(self, name):
        number = self.names[name]
        self.history.synced.setdefault(number, []).append(
            (len(self.history.files[number]) - 1, self.count(), f"alice/labs/{name}"))

    def newest(self, name):
        return self.history.files[self.names[name]][-1]

    def version(self):
        self.made += 1
        return self.made

    def write(self, name, size, sync=False):
        """Whole contents, old ones cut away."""
        begin = self.count()
        version = self.version()
        tokens = [(version, i) for i in range((size + BLOCK - 1) // BLOCK)]
        is_new = name not in self.names
        number = self.names.get(name, version)
        with open(self.path(name), "wb", buffering=0) as f:
            if is_new:
                self.names[name] = number
                self.note_names(begin)
            self.note_state(number, 0, [], begin)
            for i in range(0, size, 1 << 20):
                blocks = tokens[i // BLOCK:(i + (1 << 20)) // BLOCK]
                f.write(b"".join(map(token_bytes, blocks))[:size - i])
            self.note_state(number, size, tokens, begin)
            if sync:
                os.fsync(f.fileno())
                self.note_sync(name)

    def patch(self, name, sync=False):
        old = self.newest(name)
        if old.size < BLOCK:
            return
        begin = self.count()
        version = self.version()
        tokens = list(old.tokens)
        first = self.rng.randrange(old.size // BLOCK)
        count = self.rng.randint(1, min(40, old.size // BLOCK - first))
        fd = os.open(self.path(name), os.O_RDWR)
        for i in range(first, first + count):
            tokens[i] = (version, i)
            os.pwrite(fd, token_bytes(tokens[i]), i * BLOCK)
        self.note_state(self.names[name], old.size, tokens, begin)
        if sync:
            os.fsync(fd)
            self.note_sync(name)
        os.close(fd)

    def append(self, name, size, sync=False):
        old = self.newest(name)
        begin = self.count()
        version = self.version()
        first = (old.size + BLOCK - 1) // BLOCK  # what lies before it and behind the end is zeros
        fresh = [(version, first + i) for i in range(size // BLOCK)]
        if old.size % BLOCK and len(old.tokens) == first:
            old.tokens[-1] = ("cut", old.tokens[-1], old.size % BLOCK)
        tokens = old.tokens[:first] + [None] * (first - len(old.tokens)) + fresh
        fd = os.open(self.path(name), os.O_RDWR)
        os.pwrite(fd, b"".join(map(token_bytes, fresh)), first * BLOCK)
        self.note_state(self.names[name], (first + len(fresh)) * BLOCK, tokens, begin)
        if sync:
            os.fsync(fd)
            self.note_sync(name)
        os.close(fd)

    def truncate(self, name, sync=False):
        old = self.newest(name)
        begin = self.count()
        size = self.rng.randrange(old.size // BLOCK + 1) * BLOCK
        with open(self.path(name), "r+b", buffering=0) as f:
            f.truncate(size)
            self.note_state(self.names[name], size, old.tokens[:size // BLOCK], begin)
            if sync:
                os.fsync(f.fileno())
                self.note_sync(name)

    def sync(self, name):
        """Nothing new is written: what others wrote, a killed process too, must be on disk."""
        fd = os.open(self.path(name), os.O_RDONLY)
        os.fsync(fd)
        self.note_sync(name)
        os.close(fd)

    def rename(self, name, to):
        begin = self.count()
        os.rename(self.path(name), self.path(to))
        self.names[to] = self.names.pop(name)
        self.note_names(begin)

    def replace(self, name, size):
        """What editors do: a new file beside it, synced, moved over it."""
        fresh = f"new-{self.version()}"
        self.write(fresh, size, sync=True)
        self.rename(fresh, name)

    def unlink(self, name):
        begin = self.count()
        os.unlink(self.path(name))
        del self.names[name]
        self.note_names(begin)

    def mkdir(self, name):
        begin = self.count()
        os.mkdir(self.path(name))
        self.dirs.add(name)
        self.note_names(begin)

    def sync_dir(self, name="."):
        fd = os.open(self.path(name), os.O_RDONLY | os.O_DIRECTORY)
        index = len(self.history.names) - 1
        os.fsync(fd)
        os.close(fd)
        self.history.names_synced.append((index, self.count()))

    def sync_everything(self, realm):
        """What phr sync --wait has told is on this disk, too."""
        realm.phr("sync", "--wait", timeout=120)
        for name in self.names:
            self.note_sync(name)
        self.history.names_synced.append((len(self.history.names) - 1, self.count()))

    def pick(self):
        return self.rng.choice(sorted(self.names))


def run_acts(w, realm, acts):
    """The acts that must be there, then others as the seed has it."""
    rng = w.rng
    w.mkdir("d")
    w.write("d/small", 5000)
    w.write("kept", 100, sync=True)
    w.write("empty", 0)
    w.write("big", 9 << 20, sync=True)
    w.patch("big", sync=True)
    w.write("wide", 5 << 20)
    time.sleep(1.2)  # the syncer, and the sealer behind it
    w.patch("wide")
    w.append("big", 6 << 20)
    w.replace("kept", 70000)
    w.sync_dir()
    w.truncate("wide", sync=True)
    realm.grant("alice/labs", "bob")
    w.write("d/between", 40000, sync=True)
    realm.revoke("alice/labs", "bob")  # a new epoch
    w.patch("big")
    w.write("kept", 30000)
    w.write("left", 50000)
    realm.kill_phrfs()
    realm.mount("allow_other")
    realm.login("alice")
    w.sync("left")
    w.sync("big")
    w.sync_everything(realm)
    for number in range(acts):
        act = rng.choice(["write", "write", "rewrite", "patch", "patch", "append", "truncate", "rename",
                          "replace", "unlink", "mkdir", "sync", "sync_dir", "wait"])
        name = w.pick()
        sync = rng.random() < 0.4
        if act == "write":
            w.write(f"f{number}", rng.choice([0, 1, 4096, 5000, 70000, 600000, 3 << 20]), sync)
        elif act == "rewrite":
            w.write(name, rng.choice([100, 9000, 300000]), sync)
        elif act in ("patch", "truncate"):
            getattr(w, act)(name, sync)
        elif act == "append":
            w.append(name, rng.choice([1, 30, 600]) * BLOCK, sync)
        elif act == "rename":
            w.rename(name, f"r{number}")
        elif act == "replace":
            w.replace(name, rng.choice([5000, 200000]))
        elif act == "unlink" and len(w.names) > 6:
            w.unlink(name)
        elif act == "mkdir":
            w.mkdir(f"d{number}")
        elif act == "sync":
            w.sync(name)
        elif act == "sync_dir":
            w.sync_dir()
        elif act == "wait":
            time.sleep(rng.choice([0.05, 0.4, 1.1]))
    w.sync_everything(realm)


# ---- one run -----------------------------------------------------------------------------------


class RecordedRealm(Realm):
    """A realm whose home lies on recfs."""

    def __init__(self, build, **more):
        super().__init__(build, **more)
        self.back = self.dir / "back"
        self.journal = self.dir / "journal"
        self.recfs = None

    def start_recfs(self):
        self.back.mkdir()
        self.home.mkdir()
        self.recfs = subprocess.Popen(
            [self.build / "tests/system/powercut/recfs", self.journal, self.back, self.home],
            stdin=subprocess.DEVNULL)
        wait_until("recfs to be mounted", lambda: is_mounted(self.home))

    def end_recfs(self):
        if self.recfs and self.recfs.poll() is None:
            subprocess.run(["umount", self.home], check=False, capture_output=True, timeout=30)
            try:
                self.recfs.wait(10)
            except subprocess.TimeoutExpired:
                unmount_whatever(self.home)
                self.recfs.kill()
                self.recfs.wait(10)

    def close(self):
        super().close()
        self.end_recfs()


def record(build, base, seed, acts):
    """Runs the workload; its realm (closed), its history, and where it begins in the journal."""
    history = History()
    realm = RecordedRealm(build, base=base, settings=SETTINGS)
    with realm:
        realm.start_recfs()
        realm.init()
        realm.start_phrd()
        realm.patient("alice")
        realm.identity("bob")
        if seed % 2:  # the first mount, too, may end in a power cut
            first = int(os.getxattr(realm.home, SETTLE))
        realm.mount("allow_other")
        realm.login("alice")
        top = realm.mount_dir / "alice" / "labs"
        if seed % 2 == 0:
            (top / "warm").write_bytes(b"x")
            realm.phr("sync", "--wait", timeout=120)
            os.unlink(top / "warm")
            realm.phr("sync", "--wait", timeout=120)
            first = int(os.getxattr(realm.home, SETTLE))
        history.names.append((0, 0, {}, set()))
        run_acts(Workload(top, realm.home, history, random.Random(seed)), realm, acts)
        time.sleep(1.5)
        realm.umount()
        realm.stop_phrd()
    return realm, history, first


def replay(realm, args, *more):
    return [realm.build / "tests/system/powercut/powercut_replay", "--journal", realm.journal, *args, *more]


def probe_all(realm, history, first, args, scratch):
    """Every image through the vault's own code: (images, lines that are wrong)."""
    shares = max(2, os.cpu_count() or 2)
    common = ["--keyring", realm.back / "keys" / "alice.keyring", "--passfile", realm.passfile("alice"),
              "--scratch", scratch, "--seed", args.image_seed or args.seed, "--from", first,
              "--per-boundary", args.per_boundary]
    if args.only:
        common += ["--boundary", args.only, "--variant", args.variant]
        shares = 1
    running = [subprocess.Popen([str(a) for a in replay(realm, common, "--share", f"{i}/{shares}", "probe")],
                                stdout=open(scratch / f"out-{i}", "wb"), stdin=subprocess.DEVNULL)
               for i in range(shares)]
    for process in running:
        if process.wait(3600) != 0:
            raise Failed(f"the replayer ended with {process.returncode}")
    images, wrong = 0, []
    for i in range(shares):
        with open(scratch / f"out-{i}", encoding="utf-8") as lines:
            for line in lines:
                image = json.loads(line)
                images += 1
                faults = history.check(image["boundary"], image)
                if faults:
                    wrong.append((image["boundary"], image["variant"], image["seed"], faults))
    return images, wrong


# ---- images on a real mount --------------------------------------------------------------------


def told_by_mount(top):
    """What the probe tells, by way of the kernel."""
    files, dirs = {}, []
    for folder, below, names in os.walk(top):
        place = pathlib.Path("alice/labs") / pathlib.Path(folder).relative_to(top)
        dirs += [str(place / d) for d in below]
        for name in names:
            data = (pathlib.Path(folder) / name).read_bytes()
            digests = "".join(hashlib.sha256(data[i:i + BLOCK]).hexdigest()[:16]
                              for i in range(0, len(data), BLOCK))
            files[str(place / name)] = (len(data), digests)
    return {"files": files, "dirs": dirs}


def set_other_boot(vault):
    """The rows' boot is over, and with it the redo log. (The probes see it without this: they run
    under another boot id.)"""
    (vault / "namespace.db-redo").unlink(missing_ok=True)
    db = sqlite3.connect(vault / "namespace.db")
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'content'").fetchone():  # else cut before the first sync
        db.execute("UPDATE content SET boot_id = randomblob(16) WHERE durable = 0")
        db.commit()
    db.close()


def mount_image(realm, history, position, variant, seed, scratch):
    """phrd and phrfs start on the image; afterwards everything reaches the object store."""
    base = scratch / f"mount-{position}"
    shutil.rmtree(base, ignore_errors=True)  # of an earlier --run
    (base / "home").mkdir(parents=True)
    shutil.copytree(realm.secrets, base / "passphrases")
    subprocess.run([str(a) for a in replay(realm, ["--boundary", position, "--variant", variant, "--seed", seed,
                                                   "--into", base / "home"], "image")], check=True)
    conf = base / "home" / "phr.conf"
    conf.write_text(conf.read_text().replace(str(realm.dir), str(base)))
    set_other_boot(base / "home" / "vault")
    with Realm(realm.build, base=base) as again:
        again.start_phrd()
        again.mount("allow_other")
        again.login("alice")
        top = again.mount_dir / "alice" / "labs"
        faults = history.check(position, told_by_mount(top))
        (top / "after-the-cut").write_bytes(b"m" * 300000)
        again.phr("sync", "--wait", timeout=60)
        again.phr("check", timeout=60)
        again.umount()
        again.mount("allow_other")
        again.login("alice")
        image = dict(told_by_mount(top), made=MADE)
        faults += history.check(position, image)
    return faults


def boundaries_of(history, first, rng, count):
    """Places in the journal after which the workload went on."""
    end = history.names[-1][1]
    return sorted(rng.randrange(first + 1, end) for _ in range(count))


# ---- all of it ---------------------------------------------------------------------------------


def one_workload(args, seed, scratch):
    started = time.monotonic()
    if args.run:
        history, first, seed = pickle.loads((scratch / "history").read_bytes())
        realm = RecordedRealm(args.build, base=scratch / "realm")
    else:
        realm, history, first = record(args.build, scratch / "realm", seed, args.acts)
        (scratch / "history").write_bytes(pickle.dumps((history, first, seed)))
    recorded = time.monotonic()
    images, wrong = probe_all(realm, history, first, args, scratch)
    probed = time.monotonic()
    rng = random.Random(seed)
    for position in boundaries_of(history, first, rng, args.mounts):
        variant = rng.choice(["keep", "mixed", "drop", "files", "torn4k"])
        try:
            faults = mount_image(realm, history, position, variant, seed, scratch)
        except Failed as e:
            faults = [str(e)]
        if faults:
            wrong.append((position, f"{variant} mounted", seed, faults))
    print(f"workload {seed}: {images} images, {args.mounts} mounted, {len(wrong)} wrong; recorded in "
          f"{recorded - started:.0f} s, probed in {probed - recorded:.0f} s, mounted in "
          f"{time.monotonic() - probed:.0f} s", flush=True)
    for position, variant, image_seed, faults in wrong[:int(os.environ.get("PHR_TEST_FAULTS", "20"))]:
        print(f"  boundary {position} {variant} seed {image_seed}:")
        for fault in faults[:4]:
            print(f"    {fault[:600]}")
    return images, len(wrong)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--workloads", type=int, default=1)
    parser.add_argument("--acts", type=int, default=25)
    parser.add_argument("--per-boundary", type=int, default=2)
    parser.add_argument("--mounts", type=int, default=2)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--run", type=pathlib.Path)
    parser.add_argument("--only", type=int)
    parser.add_argument("--variant")
    parser.add_argument("--image-seed", type=int)
    args = parser.parse_args()
    try:
        need_root_and_fuse()
        need_programs(args.build, "tests/system/powercut/recfs", "tests/system/powercut/powercut_replay")
    except Skipped as why:
        print(f"skipped: {why}")
        return SKIP
    args.seed = args.seed if args.seed is not None else random.SystemRandom().getrandbits(31)
    print(f"seed {args.seed}", flush=True)
    images, wrong = 0, 0
    for number in range(args.workloads):
        scratch = args.run or pathlib.Path(tempfile.mkdtemp(prefix="phr-powercut-"))
        scratch.chmod(0o755)
        some, bad = one_workload(args, args.seed + number, scratch)
        images, wrong = images + some, wrong + bad
        if args.keep or args.run or bad:
            print(f"kept: {scratch}")
        else:
            shutil.rmtree(scratch, ignore_errors=True)
    print(f"{images - wrong} passed, {wrong} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

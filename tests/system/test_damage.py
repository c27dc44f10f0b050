#!/usr/bin/env python3
"""Every damaged byte is noticed (P6): flips bytes of vault containers one at a time and reads all.

  test_damage.py --build DIR [--flips 200] [--seed S]

Each read gives the original bytes or EIO for the block, never other bytes; one damaged block
costs that block alone; the log names the file by its id, `phr check` by its path. Then several
containers are damaged at once, one is gone: `phr check --repair` fetches them again, and every
file is equal byte for byte; what only this machine has is named and left.
"""
import argparse
import errno
import json
import os
import pathlib
import random
import re
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools" / "demo"))
from realm import Failed, Realm, wait_until  # noqa: E402

BLOCK = 4096
EXIT_SEAL = 20


def drop_caches():
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("1")


def flip(path, offset):
    with open(path, "r+b", buffering=0) as f:
        f.seek(offset)
        byte = f.read(1)[0]
        f.seek(offset)
        f.write(bytes([byte ^ 0x55]))


def read_blocks(path, size):
    """Each block's bytes, or None where reading it gives EIO."""
    blocks = []
    fd = os.open(path, os.O_RDONLY)
    try:
        for offset in range(0, size, BLOCK):
            try:
                blocks.append(os.pread(fd, BLOCK, offset))
            except OSError as e:
                if e.errno != errno.EIO:
                    raise
                blocks.append(None)
    finally:
        os.close(fd)
    return blocks


def containers(realm):
    return [p for p in (realm.home / "vault" / "data").rglob("*") if p.is_file() and p.stat().st_size]


def stored_byte(realm, rng, number):
    """A byte that is on the disk (containers are sparse): of any container, or of where most are."""
    paths = containers(realm)
    while True:
        path = rng.choices(paths, [1 if number % 2 else p.stat().st_blocks for p in paths])[0]
        offset = rng.randrange(path.stat().st_size)
        with open(path, "rb") as f:
            try:
                if os.lseek(f.fileno(), offset, os.SEEK_DATA) == offset:
                    return path, offset
            except OSError:
                pass  # a hole up to the end: another one


def remount(realm):
    """A fresh process: nothing of what it read before may answer for the disk."""
    realm.umount()
    realm.mount("allow_other")
    realm.login("alice")


def set_up(realm, rng):
    realm.init()
    realm.start_phrd()
    realm.patient("alice")
    realm.mount("allow_other")
    realm.login("alice")
    labs = realm.mount_dir / "alice" / "labs"
    originals = {}
    for number, size in enumerate((100, 4096, 70000, 1 << 20, 5 << 20)):
        name = f"f{number}"
        originals[name] = rng.randbytes(size)
        (labs / name).write_bytes(originals[name])
    realm.phr("sync", "--wait", timeout=120)
    # One file stays dirty on top of its sealed version: its overlay is damaged too.
    with open(labs / "f3", "r+b") as f:
        patch = rng.randbytes(40000)
        f.seek(123456)
        f.write(patch)
        f.flush()
        os.fsync(f.fileno())
    originals["f3"] = originals["f3"][:123456] + patch + originals["f3"][123456 + len(patch):]
    return labs, originals


def read_all(labs, originals):
    """Names and blocks that cannot be read; Failed when a byte is wrong."""
    lost = []
    for name, data in originals.items():
        try:
            blocks = read_blocks(labs / name, len(data))
        except OSError as e:
            if e.errno != errno.EIO:
                raise Failed(f"{name}: {errno.errorcode[e.errno]} instead of EIO") from e
            lost += [(name, None)]  # cannot be opened at all
            continue
        for i, block in enumerate(blocks):
            if block is None:
                lost.append((name, i))
            elif block != data[i * BLOCK:(i + 1) * BLOCK]:
                raise Failed(f"{name}: block {i} is served with wrong bytes")
    return lost


def one_block_costs_itself(realm, labs, originals):
    """A byte in the middle of ciphertext of the large file, read with one 1 MiB call."""
    name, data = "f4", originals["f4"]
    for path in containers(realm):
        if path.stat().st_size < 4 << 20:
            continue
        flip(path, 100 * BLOCK + 17)
        drop_caches()
        lost = read_all(labs, originals)
        fd = os.open(labs / name, os.O_RDONLY)
        try:
            got = 0
            drop_caches()
            for offset in range(0, 1 << 20, BLOCK):
                try:
                    got += os.pread(fd, BLOCK, offset) == data[offset:offset + BLOCK]
                except OSError:
                    pass
        finally:
            os.close(fd)
        if [n for n, _ in lost] == [name] and got >= 255:
            report = realm.phr("check", check=False, timeout=120)
            text = report.stdout + report.stderr
            if report.returncode == 0 or "alice/labs/f4" not in text:
                raise Failed(f"phr check does not name alice/labs/f4: exit {report.returncode}: {text[-500:]}")
            log = "".join(p.read_text(errors="replace") for p in realm.log_files())
            if not re.search(r"damage\w*.*file=[0-9a-f]{8}.*block=\d+", log):
                raise Failed(f"the log does not name the file by its id and the block: {log[-500:]}")
            if "f4" in re.findall(r"file=(\S+)", log):
                raise Failed("the log holds a name")
            flip(path, 100 * BLOCK + 17)
            return
        flip(path, 100 * BLOCK + 17)
    raise Failed("no container was found whose damage costs exactly one block")


def check(realm, *options):
    """Exit status and answer of phr check."""
    done = realm.phr("check", "--json", *options, check=False, timeout=120)
    if done.returncode not in (0, EXIT_SEAL):
        raise Failed(f"phr check: exit {done.returncode}: {done.stderr}")
    return done.returncode, json.loads(done.stdout)


def everything_equal(labs, originals):
    drop_caches()
    lost = read_all(labs, originals)
    if lost:
        raise Failed(f"after the repair these cannot be read: {lost[:5]}")


def stored(path):
    """Places of bytes that are on the disk: the first page, one in the middle, the last."""
    pages = []
    with open(path, "rb") as f:
        at = 0
        while True:
            try:
                at = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            pages.append(at)
            at += BLOCK
    return sorted({pages[0], pages[len(pages) // 2], pages[-1]}) if pages else []


def repair_brings_all_back(realm, labs, originals):
    """Sealed everywhere: whatever happens to the containers, the object store has the bytes."""
    realm.phr("sync", "--wait", timeout=120)
    everything_equal(labs, originals)
    status, answer = check(realm)
    if status != 0 or answer["damaged"]:
        raise Failed(f"a whole vault is said to be damaged: {answer}")
    paths = containers(realm)
    for path in paths:
        for place in stored(path):
            flip(path, place + 11)
    max(paths, key=lambda p: p.stat().st_blocks).unlink()
    remount(realm)
    status, answer = check(realm, "--again")
    if status != EXIT_SEAL or answer["count"] == 0 or answer["repaired"]:
        raise Failed(f"without --repair: {status} {answer}")
    realm.stop_phrd()
    status, answer = check(realm, "--repair")
    if status != EXIT_SEAL or answer["repaired"]:
        raise Failed(f"repaired, and nobody was there to ask: {answer}")
    realm.start_phrd()
    wait_until("the mount to find phrd", lambda: check(realm, "--again", "--repair")[0] == 0, 60, 1)
    status, answer = check(realm, "--again")
    if status != 0 or answer["damaged"]:
        raise Failed(f"after the repair: {answer}")
    everything_equal(labs, originals)
    remount(realm)
    everything_equal(labs, originals)


def what_only_this_machine_has_is_named(realm, labs, rng):
    """An unsealed change is damaged: no store has it, and the command says so."""
    before = {p: p.stat().st_mtime_ns for p in containers(realm)}
    with open(labs / "f2", "r+b") as f:
        f.write(rng.randbytes(30000))
        f.flush()
        os.fsync(f.fileno())
    new = [p for p in containers(realm) if p not in before or p.stat().st_mtime_ns != before[p]]
    for path in new:
        flip(path, stored(path)[-1] + 7)
    remount(realm)
    status, answer = check(realm, "--again", "--repair")
    left = [d for d in answer["damaged"] if not d["repaired"]]
    if status != EXIT_SEAL or {d["path"] for d in left} != {"alice/labs/f2"}:
        raise Failed(f"an unsealed change that is damaged: exit {status}, {answer}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None)
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else random.SystemRandom().getrandbits(32)
    print(f"seed {seed}", flush=True)
    rng = random.Random(seed)
    # Sealing is far away while bytes are being flipped.
    with Realm(args.build, settings={"vault": {"seal_delay_ms": 600000, "temp_age_ms": 1000}}) as realm:
        try:
            labs, originals = set_up(realm, rng)
            noticed = 0
            for number in range(args.flips):
                if number % 50 == 0:
                    remount(realm)
                path, offset = stored_byte(realm, rng, number)
                flip(path, offset)
                drop_caches()
                noticed += bool(read_all(labs, originals))
                flip(path, offset)
            drop_caches()
            if read_all(labs, originals):
                raise Failed("undamaged again, and yet something cannot be read")
            one_block_costs_itself(realm, labs, originals)
            repair_brings_all_back(realm, labs, originals)
            what_only_this_machine_has_is_named(realm, labs, rng)
        except (Failed, OSError) as failure:
            print(f"FAILED seed {seed}: {failure}\nkept: {realm.dir}")
            return 1
    print("repaired from the object store, byte for byte")
    print(f"{args.flips} flips, {noticed} noticed as EIO, the others hit footers and other bytes that no read needs")
    shutil.rmtree(realm.dir, ignore_errors=True)
    return 0 if noticed > args.flips // 2 else 1


if __name__ == "__main__":
    sys.exit(main())

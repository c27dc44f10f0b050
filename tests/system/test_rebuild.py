#!/usr/bin/env python3
"""An empty vault is rebuilt from the object store and the keyrings: byte for byte.

  test_rebuild.py --build DIR [--s3] [--files N] [--mib TOTAL] [--seed S]
"""
import argparse
import contextlib
import hashlib
import pathlib
import random
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools" / "demo"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from demo import as_user  # noqa: E402
from realm import Failed, Realm  # noqa: E402

READER_UID = 20003


def write_tree(top, rng, files, total):
    """Files of mixed sizes in folders, an empty one, a sparse one, links; {relative path: digest}."""
    sizes = [rng.choice([1, 4096, 70_000, 1 << 20]) for _ in range(files - 1)]
    sizes.append(max(5 << 20, total - sum(sizes)))
    scale = max(1.0, total / max(1, sum(sizes)))
    digests = {}
    for number, size in enumerate(sizes):
        path = top / f"d{number % 10}" / f"file {number}"
        path.parent.mkdir(exist_ok=True)
        data = rng.randbytes(min(int(size * scale), 64 << 20))
        path.write_bytes(data)
        digests[str(path.relative_to(top))] = hashlib.sha256(data).hexdigest()
    (top / "empty").write_bytes(b"")
    digests["empty"] = hashlib.sha256(b"").hexdigest()
    with open(top / "sparse", "wb") as f:
        f.seek(9 << 20)
        f.write(b"end")
    digests["sparse"] = hashlib.sha256(bytes(9 << 20) + b"end").hexdigest()
    (top / "link").symlink_to("empty")
    return digests


def digest(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            h.update(chunk)
    return h.hexdigest()


def compare(top, digests):
    for name, want in digests.items():
        got = digest(top / name)
        if got != want:
            raise Failed(f"{name} differs after the rebuild")
    if (top / "link").readlink() != pathlib.Path("empty"):
        raise Failed("the symlink differs after the rebuild")
    names = {str(p.relative_to(top)) for p in top.rglob("*") if p.is_file() and not p.is_symlink()}
    if names != set(digests):
        raise Failed(f"other names after the rebuild: {sorted(names ^ set(digests))[:5]}")


def run(realm, rng, args):
    realm.init()
    realm.start_phrd()
    realm.identity("dr.wilson", uid=READER_UID)
    realm.patient("alice")
    realm.grant("alice/labs", "dr.wilson")
    realm.mount("allow_other")
    realm.login("alice")
    labs = realm.mount_dir / "alice" / "labs"
    digests = write_tree(labs, rng, args.files, args.mib << 20)
    realm.phr("sync", "--wait", timeout=900)
    realm.umount()
    shutil.rmtree(realm.home / "vault")
    realm.mount("allow_other")
    realm.login("alice")
    compare(labs, digests)
    print(f"ok {len(digests)} files, {args.mib} MiB: an empty vault is rebuilt")
    realm.login("dr.wilson", READER_UID)
    name = sorted(digests)[0]
    if as_user(READER_UID, lambda: digest(labs / name)) != digests[name]:
        raise Failed("a granted reader reads something else after the rebuild")
    print("ok a granted reader reads the same")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--s3", action="store_true")
    parser.add_argument("--files", type=int, default=30)
    parser.add_argument("--mib", type=int, default=40)
    parser.add_argument("--seed", type=int, default=None)
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else random.SystemRandom().getrandbits(32)
    print(f"seed {seed}", flush=True)
    with contextlib.ExitStack() as ends:
        url = credentials = None
        if args.s3:
            import radosgw
            if not radosgw.is_installed():
                print("skipped: radosgw, ceph-mon or ceph-osd is not installed")
                return 77
            server = ends.enter_context(radosgw.Cluster())
            url, credentials = server.store_url("phr-rebuild"), server.credentials_file
        realm = ends.enter_context(Realm(args.build, None, url, credentials,
                                         {"vault": {"seal_delay_ms": 200, "temp_age_ms": 300}}))
        try:
            run(realm, random.Random(seed), args)
        except (Failed, OSError, subprocess.TimeoutExpired) as failure:
            print(f"FAILED seed {seed}: {failure}\nkept: {realm.dir}")
            return 1
        shutil.rmtree(realm.dir, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

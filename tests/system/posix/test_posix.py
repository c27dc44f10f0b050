#!/usr/bin/env python3
"""The same calls on ext4 and on the mount: results, errno and what stat shows must agree.

  test_posix.py --build DIR [--long] [--only PART] [--keep DIR] [--plain]

posix_twin runs its bodies in a directory and writes a line per observation. What may differ
stands in differences.txt, and each of those must occur: a difference that is gone is a fault
of the table. --plain compares ext4 with itself: bodies that are not repeatable show.
"""
import collections
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import harness  # noqa: E402
from harness import Failed, RealMount, Skipped, run  # noqa: E402

TABLE = pathlib.Path(__file__).with_name("differences.txt")
SHOWN_MAX = 60


def read_table(with_long):
    """(place, ext4, mount) -> reason, in the order of the file."""
    table, reason = {}, ""
    for number, line in enumerate(TABLE.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("# "):
            reason = line[2:]
        elif line.strip():
            place, sep, values = line.rpartition(" => ")
            if not sep or " | " not in values:
                raise Failed(f"{TABLE.name}:{number}: not 'place => ext4 | mount'")
            ext4, mount = values.split(" | ", 1)
            is_long, place = place.startswith("long "), place.removeprefix("long ")
            if with_long or not is_long:
                table[(place, ext4, mount)] = reason
    return table


def transcript(twin, folder, other, words):
    """place -> result; a place said again gets a number."""
    done = subprocess.run([twin, folder, other, *words], stdin=subprocess.DEVNULL, text=True, errors="replace",
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=3600, check=False)
    if done.returncode != 0:
        raise Failed(f"posix_twin: exit {done.returncode}\n{done.stdout[-2000:]}")
    said, lines = collections.Counter(), {}
    for line in done.stdout.splitlines():
        place, sep, result = line.rpartition(" -> ")
        if not sep:
            place, result = line, ""
        said[place] += 1
        lines[place if said[place] == 1 else f"{place} #{said[place]}"] = result
    return lines


def compare(ext4, mount, table, only):
    """The faults, as text."""
    faults, found = [], set()
    for place in [*ext4, *(p for p in mount if p not in ext4)]:
        key = (place, ext4.get(place, "absent"), mount.get(place, "absent"))
        if key[1] == key[2]:
            continue
        if key in table:
            found.add(key)
        else:
            faults.append(f"{key[0]} => {key[1]} | {key[2]}")
    for key in table:
        if key not in found and only in key[0]:
            faults.append(f"no longer so: {key[0]} => {key[1]} | {key[2]}")
    return faults, len(found)


class Ext4:
    """A directory on ext4: the local one if it is, else in an image of its own."""

    def __init__(self):
        self.place = tempfile.TemporaryDirectory(prefix="phr-ext4-")
        self.dir = pathlib.Path(self.place.name)
        self.dir.chmod(0o755)
        self.is_loop = False

    @staticmethod
    def is_ext4(path):
        return run(["stat", "-f", "-c", "%T", path]).stdout.strip() == "ext2/ext3"

    def __enter__(self):
        if not self.is_ext4(self.dir):
            image = self.dir.with_suffix(".img")
            run(["truncate", "-s", "2G", image])
            run(["mkfs.ext4", "-q", image])
            run(["mount", "-o", "loop", image, self.dir])
            self.is_loop = True
            if not self.is_ext4(self.dir):
                raise Failed("no ext4 to compare with")
        for name in ("work", "other"):
            (self.dir / name).mkdir(exist_ok=True)
        return self

    def __exit__(self, *_):
        if self.is_loop:
            run(["umount", self.dir], check=False)
            self.dir.with_suffix(".img").unlink(missing_ok=True)
        self.place.cleanup()


def main():
    parser = harness.arguments(__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="50,000 entries, 65,000 links too")
    parser.add_argument("--plain", action="store_true", help="ext4 with itself")
    parser.add_argument("--keep", help="a directory for both transcripts")
    opts = parser.parse_args()
    twin = pathlib.Path(opts.build).resolve() / "tests/system/posix/posix_twin"
    words = (["--long"] if opts.long else []) + (["--only", opts.only] if opts.only else [])
    only = f"{opts.only}" if opts.only else ""
    try:
        table = {} if opts.plain else read_table(opts.long)
        harness.need_root_and_fuse()
        harness.need_programs(pathlib.Path(opts.build), "tests/system/posix/posix_twin")
        with Ext4() as e:
            ext4 = transcript(twin, e.dir / "work", e.dir / "other", words)
        if opts.plain:
            with Ext4() as e:
                mount = transcript(twin, e.dir / "work", e.dir / "other", words)
        else:
            with RealMount(opts.build, "allow_other,ownership=stored") as m:
                mount = transcript(twin, m.folder, m.mount_dir / "alice" / "labs", words)
    except Skipped as why:
        print(f"skipped: {why}")
        return harness.SKIP
    if opts.keep:
        for name, lines in (("ext4", ext4), ("mount", mount)):
            text = "".join(f"{place} -> {result}\n" for place, result in lines.items())
            pathlib.Path(opts.keep, name).write_text(text, encoding="utf-8")
    faults, intended = compare(ext4, mount, table, only)
    print("\n".join(faults[:SHOWN_MAX]))
    print(f"{len(ext4)} observations, {intended} intended differences, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

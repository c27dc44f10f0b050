#!/usr/bin/env python3
"""Rules of this tree that a program can check; fails naming file and line.

edges    a module includes only what its row allows (includes point down)
doors    a foreign header is included by its own folder only
stems    file stems are unique, so that a symbol tells its file
calls    functions that we never use
shape    include guards, no // comments, no function-like TODOs
roots    nothing at the root but the five folders, meson.build, README.md and dot files
"""
import collections
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

EDGES = {
    "base": set(),
    "proc": {"base"},
    "ipc": {"base"},
    "crypto": {"base"},
    "format": {"base", "crypto"},
    "store": {"base", "format", "crypto"},
    "ledger": {"base", "format", "crypto"},
    "audit": {"base", "format", "crypto"},
    "vault": {"base", "crypto", "format", "store", "ledger", "ipc"},
    "mount": {"base", "proc", "ipc", "vault", "format"},
    "srs": {"base", "proc", "format", "ledger", "audit", "crypto"},
    "sidecar": {"base", "proc", "ipc", "format", "ledger", "audit", "srs", "crypto"},
    "client": {"base", "ipc", "crypto", "format", "ledger", "audit"},
}
# What phrd may see of crypto and format: nothing that opens a record.
PEOPLE = {
    "crypto/pre_owner.h", "crypto/pre_reader.h", "crypto/pre_writer.h", "crypto/passphrase.h",
    "format/keyring.h",
}
NO_PEOPLE = {"srs", "sidecar", "ledger", "audit"}

DOORS = [
    (r"fuse(3/fuse)?(_lowlevel|_opt|_common)?\.h|fuse3/.*|linux/fuse\.h", {"src/mount", "tools/mount"}),
    (r"sodium(/.*)?\.h", {"src/crypto", "src/base/secret.c"}),
    (r"openssl/.*", {"src/crypto"}),
    (r"gmp\.h", {"src/crypto"}),
    (r"curl/.*", {"src/sidecar"}),
    (r"sqlite3\.h", {"src/vault/nsdb_inside.h", "src/vault/nsdb_wal.c", "src/srs/srs_db.c", "src/sidecar/syncdb.c"}),
    (r"microhttpd\.h", {"src/srs"}),
    (r"ini\.h", {"src/base/config.c"}),
    (r"expat\.h", {"src/sidecar"}),
    (r"seccomp\.h|linux/landlock\.h|systemd/.*", {"src/proc"}),
]

BANNED = re.compile(
    r"(?<![\w.>])(strcpy|strcat|sprintf|strtok|atoi|atol|gets|system|popen|alloca|rand|srand)\s*\(")
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')
ROOT_OK = {"src", "include", "tools", "tests", "packaging", "meson.build", "README.md", "LICENSE"}
# Entry points and registration files that every folder may have.
STEM_OK = {"main", "meson"}


def tracked():
    out = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"],
                         capture_output=True, text=True, check=False)
    if out.returncode == 0 and out.stdout:
        return [p for p in out.stdout.splitlines() if (ROOT / p).is_file()]
    return [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.is_file()]


def strip_text(line):
    line = re.sub(r'"(\\.|[^"\\])*"', '""', line)
    return re.sub(r"'(\\.|[^'\\])*'", "''", line)


def without_comments(text):
    return re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group(0).count("\n"), text, flags=re.S)


class Report:
    def __init__(self):
        self.faults = []

    def add(self, path, line, text):
        self.faults.append(f"{path}:{line}: {text}")


def check_include(report, path, number, kind, target):
    parts = path.split("/")
    module = parts[1] if parts[0] == "src" and len(parts) > 2 else None
    if kind == '"' and module:
        head = target.split("/")[0]
        if head in EDGES and head != module and head not in EDGES[module]:
            report.add(path, number, f"edge {module} -> {head} is not allowed")
        if module in NO_PEOPLE and target in PEOPLE:
            report.add(path, number, f"{target} opens records; {module} may not see it")
        if target.endswith("_test.h"):
            own = path.rsplit("/", 1)[-1].removesuffix(".c") + "_test.h"
            if target.rsplit("/", 1)[-1] != own:
                report.add(path, number, "a _test.h is for its own .c and for tests")
    for pattern, places in DOORS:
        if not re.fullmatch(pattern, target) or parts[0] in ("tests",):
            continue
        if path.startswith("tools/bench/"):
            continue
        if not any(path == p or path.startswith(p + "/") for p in places):
            report.add(path, number, f"<{target}> is included through {', '.join(sorted(places))} only")


def check_c(report, path):
    raw = (ROOT / path).read_text(errors="replace")
    lines = without_comments(raw).splitlines()
    for number, line in enumerate(raw.splitlines(), 1):
        found = INCLUDE.match(line)
        if found:
            check_include(report, path, number, found.group(1), found.group(2))
    product = path.startswith(("src/", "include/", "tools/"))
    for number, line in enumerate(lines, 1):
        if INCLUDE.match(line):
            continue
        bare = strip_text(line)
        if "//" in bare:
            report.add(path, number, "// is for unfinished thoughts")
        found = BANNED.search(bare)
        if found and product:
            report.add(path, number, f"{found.group(1)}() is never used")
    if product and re.search(r"\b(TODO|FIXME|XXX)\b", raw):
        report.add(path, 1, "unfinished thought (TODO, FIXME, XXX)")
    if path.endswith(".h"):
        want = "PHR_" + re.sub(r"[^A-Z0-9]", "_", re.sub(r"^(src|include/phr|include)/", "", path).upper())
        if f"#ifndef {want}" not in raw:
            report.add(path, 1, f"guard is not {want}")


def main():
    report = Report()
    files = tracked()
    stems = collections.defaultdict(set)
    for path in files:
        top = path.split("/")[0]
        if top not in ROOT_OK and not top.startswith("."):
            report.add(path, 1, "not one of the five folders, meson.build, README.md or a dot file")
        if not path.endswith((".c", ".h")):
            continue
        check_c(report, path)
        if path.startswith(("src/", "tools/")):
            stem = pathlib.Path(path).stem.removesuffix("_test")
            if stem not in STEM_OK:
                stems[stem].add(str(pathlib.Path(path).parent))
            if stem in {"util", "utils", "misc", "common", "helpers", "core"}:
                report.add(path, 1, "a file is named after its concept")
    for stem, places in sorted(stems.items()):
        if len(places) > 1:
            report.add(sorted(places)[0], 1, f"stem {stem} stands in {', '.join(sorted(places))}")
    for fault in report.faults:
        print(fault)
    print(f"{len(report.faults)} faults in {len(files)} files")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())

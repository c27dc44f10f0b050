#!/usr/bin/env python3
"""Every decoder that a header exports is called by a fuzz target.

A decoder is, by its name, *_decode or *_parse(_*). Each target has a corpus, and its line in tests/fuzz/README.md.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FUZZ = ROOT / "tests" / "fuzz"

# Called by no target, and why.
EXEMPT = {
    "args_parse": "typed by who runs phr, with his own rights",
    "class_ctx_decode": "an array of a fixed size, every value of which is one",
    "file_ctx_decode": "the same",
    "grant_ctx_decode": "the same",
    "event_parse": "looks a word up in a table",
    "purpose_parse": "the same",
    "hex_decode": "behind storekey_parse_entry",
}


def decoders():
    found = {}
    for top in ("src", "tools"):
        for path in sorted((ROOT / top).rglob("*.h")):
            text = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.S)
            for name in re.findall(r"\b(\w+_(?:decode|parse(?:_\w+)?))\s*\(", text):
                found[name] = path.relative_to(ROOT)
    return found


def main():
    faults = []
    sources = {p.stem.removeprefix("fuzz_"): p.read_text(encoding="utf-8") for p in FUZZ.glob("fuzz_*.c")}
    called = set(re.findall(r"\b(\w+)\s*\(", "\n".join(sources.values())))
    exported = decoders()
    if len(exported) < 40:
        faults.append(f"only {len(exported)} decoders found: has the naming changed?")
    for name, path in exported.items():
        if name not in called and name not in EXEMPT:
            faults.append(f"{path}: {name} is called by no fuzz target")
        if name in called and name in EXEMPT:
            faults.append(f"{name} is called by a target: take it out of EXEMPT")
    for name in EXEMPT:
        if name not in exported:
            faults.append(f"{name} in EXEMPT is exported by no header")
    readme = (FUZZ / "README.md").read_text(encoding="utf-8")
    build = (FUZZ / "meson.build").read_text(encoding="utf-8")
    for name in sources:
        if f"'{name}'" not in build:
            faults.append(f"fuzz_{name}.c is not built")
        if f"`{name}`" not in readme:
            faults.append(f"tests/fuzz/README.md does not name {name}")
        if not any((FUZZ / "corpus" / name).glob("*")):
            faults.append(f"corpus/{name} is empty")
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults, {len(exported)} decoders, {len(sources)} targets")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""What programs say about themselves stands in their man pages.

  check_man.py PHR [PHRD]

Every command and option of phr and every exit status in phr.1; every key of the
configuration in phr.conf.5; every option of phrd in phrd.8.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = ROOT / "packaging" / "man"


def page(name):
    text = (PAGES / name).read_text(encoding="utf-8")
    return text.replace("\\-", "-").replace("\\fR", "").replace("\\fB", "").replace("\\fI", "")


def help_of(phr, *words):
    return subprocess.run([phr, *words, "--help"], capture_output=True, text=True, check=True, timeout=20).stdout


def check_phr(phr, faults):
    text = page("phr.1")
    commands = [line[2:20].strip() for line in help_of(phr).splitlines() if re.match(r"  [a-z]", line)]
    if len(commands) < 20:
        faults.append(f"phr --help names {len(commands)} commands only")
    for command in commands:
        if f"phr {command}" not in text:
            faults.append(f"phr.1 does not name the command {command}")
        for option in re.findall(r"^  (--[a-z-]+)", help_of(phr, *command.split()), re.M):
            if not re.search(rf"^\.B {option}( |$)", text, re.M):
                faults.append(f"phr.1 does not describe {option} of phr {command}")
    errors = (ROOT / "include/phr/err.h").read_text(encoding="utf-8")
    for name, status in re.findall(r"X\((PHR_E_\w+), -\d+, \w+, (\d+),", errors):
        if not re.search(rf"^\.B {status}$", text, re.M):
            faults.append(f"phr.1 does not give exit status {status} ({name})")


def check_conf(faults):
    text = page("phr.conf.5")
    keys = re.findall(r'^    (?:TEXT|NUMBER)\("(\w+)", "(\w+)"', (ROOT / "src/base/config.c").read_text(), re.M)
    if len(keys) < 10:
        faults.append("the table of src/base/config.c was not found")
    for section, key in keys:
        part = text.split(f".SH [{section}]")[-1].split(".SH ")[0]
        if f".SH [{section}]" not in text or not re.search(rf"^\.B {key}$", part, re.M):
            faults.append(f"phr.conf.5 does not describe [{section}] {key}")


def check_phrd(phrd, faults):
    text = page("phrd.8")
    options = set(re.findall(r"--[a-z]+", help_of(phrd)))
    if len(options) < 4:
        faults.append(f"phrd --help names {len(options)} options only")
    for option in sorted(options):
        if not re.search(rf"^\.B .*{option}\b", text, re.M):
            faults.append(f"phrd.8 does not describe {option}")


def main():
    faults = []
    check_phr(sys.argv[1], faults)
    check_conf(faults)
    if len(sys.argv) > 2:
        check_phrd(sys.argv[2], faults)
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""The link line proves the privilege split (DESIGN 11): reads the built programs.

phrd     holds no function that opens a record, a capsule, a keyring or a names row
phrfs    needs no libcurl and calls no resolver and no connect to anything but its own sockets
"""
import re
import subprocess
import sys

OPENS_RECORDS = {
    "pre_encaps", "pre_kem_open", "pre_kem_derive", "pre_owner_decaps", "pre_reader_decaps", "pre_reader_grant_key", "pre_rekeygen",
    "header_open_sealed", "block_open_sealed", "overlay_block_open_sealed", "dentry_open_sealed",
    "inode_open_sealed", "keyring_open_sealed", "keyring_body_decode", "passphrase_derive",
}


def symbols(path):
    out = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in out.splitlines() if line.strip()}


def needed(path):
    out = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"\(NEEDED\).*\[(.*?)\]", out))


def main(phrd, phrfs):
    faults = []
    in_phrd = symbols(phrd)
    if "main" not in in_phrd or "main" not in symbols(phrfs):
        faults.append("no symbols to read: was the program stripped?")
    for name in sorted(OPENS_RECORDS & in_phrd):
        faults.append(f"phrd links {name}, which opens records")
    for lib in sorted(needed(phrfs)):
        if lib.startswith(("libcurl", "libmicrohttpd", "libnss", "libresolv")):
            faults.append(f"phrfs needs {lib}, which speaks to a network")
    for name in sorted(symbols(phrfs)):
        if re.match(r"(getaddrinfo|gethostbyname|curl_)", name.split("@")[0]):
            faults.append(f"phrfs calls {name}, which speaks to a network")
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))

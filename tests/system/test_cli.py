#!/usr/bin/env python3
"""The command line against a real phrd, without a mount.

  test_cli.py --build DIR [--seed S]

Realm, identities, patient, grants, revocation (killed at random points and resumed), audit
(shown, filtered, exported, proved, edited), passphrases by terminal, file and descriptor, exit
states, JSON shapes. Needs no root. Prints "N passed, N failed".
"""
import argparse
import contextlib
import csv
import io
import json
import os
import pathlib
import pty
import random
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools" / "demo"))
from realm import Failed, Realm  # noqa: E402

EXIT_PASSPHRASE, EXIT_UNKNOWN, EXIT_EXISTS, EXIT_RIGHTS, EXIT_SIDECAR, EXIT_BROKEN = 38, 40, 41, 43, 31, 44
KILLS = 4


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def that(self, what, holds, detail=""):
        if holds:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED {what}: {detail}", flush=True)

    def exits(self, what, done, status):
        self.that(what, done.returncode == status,
                  f"exit {done.returncode}, not {status}: {done.stdout} {done.stderr}")
        self.that(f"{what}: one sentence", status == 0 or done.stderr.strip().startswith("phr: "), done.stderr)


def by_terminal(realm, args, answers):
    """Runs phr on a terminal of its own and types the answers; what the terminal showed, and the status."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(realm.bin / "phr", ["phr", *args], realm.env)
    shown = b""
    end = time.monotonic() + 60
    answers = list(answers)
    while time.monotonic() < end:
        ready, _, _ = select.select([fd], [], [], 0.2)
        if ready:
            try:
                data = os.read(fd, 4096)
            except OSError:
                break
            if not data:
                break
            shown += data
            if answers and shown.rstrip().endswith(b":"):
                time.sleep(0.2)  # TCSAFLUSH throws away what was typed before
                os.write(fd, answers.pop(0).encode() + b"\n")
    os.close(fd)
    _, status = os.waitpid(pid, 0)
    return shown.decode(), os.waitstatus_to_exitcode(status)


def check_realm(realm, c):
    realm.init()
    c.exits("a second init", realm.phr("init", "--passfile", realm.passfile("authority"), check=False), EXIT_EXISTS)
    c.that("keys are for their owner", (realm.home / "keys/authority.keyring").stat().st_mode & 0o777 == 0o600)
    c.that("the sidecar is closed to others", (realm.home / "sidecar").stat().st_mode & 0o077 == 0)
    done = realm.phr("patient", "add", "early", "--passfile", realm.passfile("early"), check=False)
    c.exits("patient add without phrd", done, EXIT_SIDECAR)
    c.that("it left no keyring", not (realm.home / "keys/early.keyring").exists())
    done = realm.phr("status", "--json", check=False)
    c.exits("status without phrd", done, EXIT_SIDECAR)
    c.that("status says so in one JSON", json.loads(done.stdout) == {"phrd": None, "mounts": []}, done.stdout)


def check_identities(realm, c):
    for label in ("dr.wilson", "dr.chen", "dr.meyer"):
        realm.identity(label)
    realm.phr("identity", "new", "waits", "--role", "service", "--passfile", realm.passfile("waits"))
    rows = realm.phr_json("identity", "list")
    c.that("the list has cards and requests",
           {r["label"]: r["approved"] for r in rows} ==
           {"dr.wilson": True, "dr.chen": True, "dr.meyer": True, "waits": False}, rows)
    row = realm.phr_json("identity", "show", "dr.wilson")
    c.that("a card's shape", set(row) == {"label", "user", "role", "fingerprint", "approved", "valid", "keyring_here",
                                          "not_before", "not_after", "serial"}, row)
    c.that("a card is valid", row["valid"] and row["keyring_here"] and row["role"] == "person", row)
    done = realm.phr("identity", "new", "Dr Wilson", "--passfile", realm.passfile("waits"), check=False)
    c.exits("a bad label", done, 2)
    done = realm.phr("identity", "show", "dr.nobody", check=False)
    c.exits("an unknown identity", done, EXIT_UNKNOWN)


def check_passphrases(realm, c):
    keyring = realm.home / "keys/alice.keyring"
    wrong = realm.dir / "wrong"
    wrong.write_text("not this\n")
    wrong.chmod(0o600)
    c.exits("a wrong passphrase", realm.phr("grants", "alice", "--passfile", wrong, check=False), EXIT_PASSPHRASE)
    wrong.chmod(0o644)
    c.exits("a passfile open to others", realm.phr("grants", "alice", "--passfile", wrong, check=False), EXIT_RIGHTS)
    keyring.chmod(0o640)
    done = realm.phr("grants", "alice", "--passfile", realm.passfile("alice"), check=False)
    c.exits("a keyring open to others", done, EXIT_RIGHTS)
    keyring.chmod(0o600)
    c.exits("no terminal", realm.phr("grants", "alice", check=False, ), EXIT_PASSPHRASE)
    secret = (realm.secrets / "alice").read_text().strip()
    shown, status = by_terminal(realm, ["grants", "alice"], [secret])
    c.that("by terminal", status == 0 and "Passphrase of the owner:" in shown, f"{status} {shown}")
    c.that("a terminal shows no passphrase", secret not in shown, shown)
    shown, status = by_terminal(realm, ["passwd", "dr.meyer", "--passfile", realm.passfile("dr.meyer")],
                                ["one thing", "another thing"])
    c.that("two new passphrases that differ", status == 2, f"{status} {shown}")
    shown, status = by_terminal(realm, ["passwd", "dr.meyer", "--passfile", realm.passfile("dr.meyer")],
                                ["a new one", "a new one"])
    c.that("passwd", status == 0, f"{status} {shown}")
    shown, status = by_terminal(realm, ["grants", "alice"], ["\x03"])
    c.that("Ctrl-C ends it", status == -signal.SIGINT, f"{status} {shown}")
    read_end, write_end = os.pipe()
    os.write(write_end, b"a new one\nrest")
    os.close(write_end)
    done = realm.command([realm.bin / "phr", "passwd", "dr.meyer", "--passfd", read_end,
                          "--new-passfile", realm.passfile("dr.meyer")], pass_fds=[read_end])
    c.that("by descriptor, no byte too much", os.read(read_end, 10) == b"rest", done.stdout)
    os.close(read_end)


def check_grants(realm, c):
    realm.patient("alice")
    done = realm.phr("patient", "add", "alice", "--passfile", realm.passfile("alice"), "--authority-passfile",
                     realm.passfile("authority"), check=False)
    c.exits("the same patient twice", done, EXIT_EXISTS)
    c.exits("a patient without a passphrase for the authority", realm.phr(
        "patient", "add", "bob", "--passfile", realm.passfile("bob"), check=False), EXIT_PASSPHRASE)
    alice = ["--passfile", realm.passfile("alice")]
    names = [r["name"] for r in realm.phr_json("compartment", "list", "alice", *alice)]
    c.that("six compartments", sorted(names) == ["imaging", "insurance", "labs", "notes", "personal",
                                                 "prescriptions"], names)
    realm.phr("compartment", "add", "alice/genetics", *alice)
    realm.grant("alice/imaging", "dr.wilson")
    realm.phr("grant", "alice", "--to", "dr.chen", "--rights", "rw", "--expires", "7d", "--purpose", "TREAT", *alice)
    rows = realm.phr_json("grants", "alice", *alice)
    c.that("eight grants", len(rows) == 8, rows)
    c.that("a grant's shape", set(rows[0]) == {"to", "compartment", "rights", "state", "purpose", "epoch",
                                               "not_before", "not_after", "max_opens", "grant"}, rows[0])
    chen = [r for r in rows if r["to"] == "dr.chen" and r["compartment"] == "genetics"][0]
    c.that("rights, purpose, end", chen["rights"] == "rw" and chen["purpose"] == "TREAT" and
           abs(chen["not_after"] - time.time() - 7 * 86400) < 120, chen)
    c.exits("to nobody", realm.phr("grant", "alice", "--to", "dr.nobody", *alice, check=False), EXIT_UNKNOWN)
    c.exits("of nothing", realm.phr("grant", "alice/teeth", "--to", "dr.chen", *alice, check=False), EXIT_UNKNOWN)
    c.exits("without --to", realm.phr("grant", "alice", *alice, check=False), 2)
    c.exits("with a strange option", realm.phr("grant", "alice", "--now", *alice, check=False), 2)
    c.exits("to one who waits", realm.phr("grant", "alice", "--to", "waits", *alice, check=False), EXIT_UNKNOWN)
    done = realm.phr("identity", "suspend", "dr.meyer", "--passfile", realm.passfile("authority"))
    done = realm.phr("grant", "alice/labs", "--to", "dr.meyer", *alice, check=False)
    c.that("a suspended reader gets nothing", done.returncode != 0, done.stdout)
    realm.phr("identity", "suspend", "dr.meyer", "--back", "--passfile", realm.passfile("authority"))
    realm.grant("alice/labs", "dr.meyer")


def live(realm, compartment):
    rows = realm.phr_json("grants", f"alice/{compartment}", "--passfile", realm.passfile("alice"))
    return sorted(r["to"] for r in rows)


def check_revoke(realm, c, seed):
    alice = ["--passfile", realm.passfile("alice")]
    answer = realm.phr_json("revoke", "alice/imaging", "--from", "dr.wilson", *alice)
    c.that("what revoke answers", answer["grants"] == 1 and answer["compartments"] == 1 and answer["mounts"] == [] and
           answer["seq"] > 0, answer)
    c.that("who stays", live(realm, "imaging") == ["dr.chen"], live(realm, "imaging"))
    c.exits("once more", realm.phr("revoke", "alice/imaging", "--from", "dr.wilson", *alice, check=False), 21)
    text = realm.phr("revoke", "alice/labs", "--from", "dr.meyer", *alice).stdout
    for words in ("releases no key", "Mounts", "New keys", "cannot undo"):
        c.that(f"revoke says: {words}", words in text, text)
    rng = random.Random(seed)
    for _ in range(KILLS):
        realm.grant("alice/imaging", "dr.wilson")
        epoch = max(r["epoch"] for r in realm.phr_json("grants", "alice/imaging", *alice))
        process = subprocess.Popen([realm.bin / "phr", "revoke", "alice/imaging", "--from", "dr.wilson",
                                    *alice], env=realm.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.5, 1.6))
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        realm.phr("revoke", "alice", "--resume", *alice)
        readers = live(realm, "imaging")
        rows = realm.phr_json("compartment", "list", "alice", *alice)
        imaging = [r for r in rows if r["name"] == "imaging"][0]
        was_revoked = readers == ["dr.chen"] and imaging["epoch"] == epoch + 1
        was_too_early = readers == ["dr.chen", "dr.wilson"] and imaging["epoch"] == epoch
        c.that("killed: all or nothing after --resume", (was_revoked or was_too_early) and not imaging["unfinished"],
               f"{readers} {imaging}")


def check_audit(realm, c):
    rows = realm.phr_json("audit", "show", "--patient", "alice", "--raw")
    ops = {r["op"] for r in rows}
    c.that("what was done is in the log", {"patient-add", "grant", "revoke", "epoch"} <= ops, ops)
    c.that("a row's shape", set(rows[0]) == {"index", "time", "op", "outcome", "outcome_text", "who", "uid", "program",
                                             "host", "patient", "compartment", "file", "grant", "purpose", "reason",
                                             "count", "index_last"}, rows[0])
    c.that("ids are translated", all(r["patient"] == "alice" and r["who"] == "alice" for r in rows), rows[:3])
    only = realm.phr_json("audit", "show", "--op", "revoke")
    c.that("by operation", only and {r["op"] for r in only} == {"revoke"}, only)
    c.that("the newest two", len(realm.phr_json("audit", "show", "--raw", "--limit", "2")) == 2)
    c.that("nothing in the future", realm.phr_json("audit", "show", "--since", "2100-01-01") == [])
    c.that("nothing was denied to dr.chen", realm.phr_json("audit", "show", "--who", "dr.chen", "--outcome",
                                                           "denied") == [])
    c.exits("an unknown operation", realm.phr("audit", "show", "--op", "dance", check=False), 2)
    mine = realm.phr_json("audit", "show", "--as", "alice", "--passfile", realm.passfile("alice"), "--op", "grant")
    c.that("compartments by name", {"imaging", "genetics"} <= {r["compartment"] for r in mine}, mine[:2])
    table = list(csv.DictReader(io.StringIO(realm.phr("audit", "export", "--patient", "alice").stdout)))
    c.that("csv", len(table) == len(rows) and table[0]["op"] == "patient-add", table[:1])
    lines = realm.phr("audit", "export", "--patient", "alice", "--format", "jsonl").stdout.splitlines()
    c.that("jsonl", [json.loads(line)["index"] for line in lines] == [r["index"] for r in rows])
    proof = realm.phr_json("audit", "verify", "--as", "alice", "--passfile", realm.passfile("alice"))
    c.that("it verifies", proof["verified"] and proof["records"] > 0 and len(proof["root"]) == 64, proof)
    again = realm.phr_json("audit", "verify", "--as", "alice", "--passfile", realm.passfile("alice"))
    c.that("against what the keyring has seen", again["pinned_size"] == proof["size"], again)


def check_other_user(realm, c, uid=20001):
    """A patient who is not root sees her own records, and nothing else."""
    if os.geteuid() != 0:
        print("not root: what other users may see is not tested")
        return
    keyring = realm.home / "keys/alice.keyring"
    os.chown(keyring, uid, uid)
    mine = ["--as", "alice", "--passfile", realm.passfile("alice", uid)]
    c.exits("the log is not for everybody", realm.phr("audit", "show", uid=uid, check=False), EXIT_RIGHTS)
    rows = realm.phr_json("audit", "show", "--raw", *mine, uid=uid)
    c.that("her own records", rows and {r["patient"] for r in rows} == {"alice"}, rows[:2])
    c.that("by name", "imaging" in {r["compartment"] for r in rows}, rows[:2])
    proof = realm.phr_json("audit", "verify", *mine, uid=uid)
    c.that("she verifies the whole tree", proof["verified"] and proof["size"] > proof["records"] > 0, proof)
    done = realm.phr("grants", "alice", "--passfile", realm.passfile("alice", uid), uid=uid, check=False)
    c.exits("she works on her ledger", done, 0)
    os.chown(keyring, 0, 0)
    os.chown(realm.passfile("alice"), 0, 0)


def check_edited(realm, c):
    realm.stop_phrd()
    c.exits("audit without phrd", realm.phr("audit", "show", check=False), EXIT_SIDECAR)
    with contextlib.closing(sqlite3.connect(realm.home / "sidecar" / "srs.db")) as db:
        number, box = db.execute("select idx, box from audit order by idx limit 1 offset 5").fetchone()
        edited = bytearray(box)
        edited[50] ^= 1
        db.execute("update audit set box = ? where idx = ?", (bytes(edited), number))
        db.commit()
    realm.start_phrd()
    done = realm.phr("audit", "verify", check=False)
    c.exits("one edited record", done, EXIT_BROKEN)
    c.that("it is named", f"ecord {number}" in done.stdout + done.stderr, done.stdout + done.stderr)


def check_help(realm, c):
    words = [line[2:20].strip() for line in realm.phr("--help").stdout.splitlines() if line.startswith("  ")]
    for command in words:
        done = realm.phr(*command.split(), "--help", check=False)
        c.that(f"{command} --help", done.returncode == 0 and done.stdout.startswith(f"usage: phr {command}"), done)
    c.exits("an unknown command", realm.phr("dance", check=False), 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    c = Checks()
    base = tempfile.mkdtemp(prefix="phr-cli-")
    try:
        with Realm(args.build, base) as realm:
            check_help(realm, c)
            check_realm(realm, c)
            realm.start_phrd()
            check_identities(realm, c)
            check_grants(realm, c)
            check_passphrases(realm, c)
            check_revoke(realm, c, args.seed)
            check_audit(realm, c)
            check_other_user(realm, c)
            check_edited(realm, c)
    except Failed as failure:
        c.that("a command", False, failure)
    finally:
        shutil.rmtree(base)
    print(f"{c.passed} passed, {c.failed} failed")
    return 1 if c.failed else 0


if __name__ == "__main__":
    sys.exit(main())

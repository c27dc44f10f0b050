#!/usr/bin/env python3
"""phrfs beside ext4, libfuse's pass-through and the encrypted file systems of Debian.

  python3 tools/bench/fs --build DIR [--scale 1.0] [--rounds 3] [--out DIR]
                         [--only workload[,...]] [--peers peer[,...]] [--images DIR] [--nice N]

workloads  sequential random small tarball dicom opens sqlite memory srs
peers      ext4 passthrough gocryptfs encfs securefs cryfs phrfs phrfs-reader

Every workload runs on a fresh ext4 on a loop device for every peer; the peers take turns, in
another order in every round. What is not there is installed from Debian (passthrough_hp is built
from the source package fuse3); what Debian lacks is left out with a line. --scale 1.0 is the
issue's sizes. Results: table.md, results.json and plot.svg in --out. Needs root.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import report
from machine import Disk, Undo, draw, enter_own_mounts, raise_priority, say, source_tarball
from peers import ALL
from realm import Failed
from workloads import GROUPS, Stage, takes_part

SRS_LOADS = {"1 file per request, 16 at a time, synced": "srs_1",
             "16 files per request, 16 at a time, synced": "srs_16"}
TOP = pathlib.Path(__file__).resolve().parents[3]


class Tools:
    """What all peers share: the build, the load program, and a folder that is kept between runs."""

    def __init__(self, build, work):
        self.build = build
        self.load = build / "tools" / "bench" / "fs_load"
        self.srs_bench = build / "tools" / "bench" / "srs_bench"
        self.work = work
        self.tarball = None
        self.realms = None  # made ones, below the folder of the images
        if not self.load.exists():
            raise Failed(f"{self.load} is not built")
        work.mkdir(parents=True, exist_ok=True)


def parse():
    parser = argparse.ArgumentParser(prog="tools/bench/fs", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", default=",".join([*GROUPS, "srs"]))
    parser.add_argument("--peers", default=",".join(p.name for p in ALL))
    parser.add_argument("--out", type=pathlib.Path, help="where results go; by default results below --work")
    parser.add_argument("--images", type=pathlib.Path, default=pathlib.Path("/var/tmp"),
                        help="where the disk images lie, one at a time")
    parser.add_argument("--nice", type=int, default=0,
                        help="priority of everything here, for a machine that others use too: -10")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("/var/tmp/phr-bench"),
                        help="sources and programs that are kept for the next run")
    args = parser.parse_args()
    args.build = args.build.resolve()
    args.out = args.out or args.work / "results"
    args.only = args.only.split(",")
    args.peers = args.peers.split(",")
    unknown = [w for w in args.only if w not in GROUPS and w != "srs"]
    unknown += [p for p in args.peers if p not in {q.name for q in ALL}]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    if args.rounds < 1 or not 0 < args.scale <= 4:
        parser.error("--rounds is at least 1, --scale above 0 and at most 4")
    if os.geteuid() != 0:
        parser.error("needs root: it mounts")
    return args


def measure(kind, group, tools, args):
    """One peer, one workload, one fresh disk; the stage with its figures."""
    undo = Undo()
    try:
        disk = Disk(args.images, 4 + int(12 * args.scale))
        undo.add(disk.close)
        peer = kind(tools, disk)
        undo.add(peer.close)
        peer.prepare()
        peer.mount()
        stage = Stage(peer, tools, args.scale)
        GROUPS[group](stage)
        peer.umount()
        return stage
    finally:
        undo.run()


def run_round(number, kinds, tools, args, failures):
    figures, cpu = {}, {}
    for group in args.only:
        if group == "srs":
            continue
        some = [kind for kind in kinds if takes_part(group, kind)]
        shift = number % max(1, len(some))
        for kind in some[shift:] + some[:shift]:
            start = time.monotonic()
            try:
                stage = measure(kind, group, tools, args)
            except (Failed, OSError, RuntimeError, subprocess.SubprocessError) as error:
                failures.append(f"round {number + 1}, {group}, {kind.name}: {error}")
                say(failures[-1])
                continue
            figures.setdefault(kind.name, {}).update(stage.figures)
            cpu.setdefault(kind.name, {}).update(stage.cpu)
            if kind.name == report.OWNER:
                cpu.setdefault(report.SIDECAR, {}).update(stage.sidecar_cpu)
            say(f"round {number + 1} of {args.rounds}: {group}: {kind.name}: {time.monotonic() - start:.1f} s")
    return figures, cpu


def run_srs(tools, rounds):
    """Releases per second of the server's processor time, the median of as many runs."""
    values = {}
    for _ in range(rounds):
        done = subprocess.run([tools.srs_bench, "--json", "--ms", "1000"], capture_output=True, text=True, check=True)
        for line in json.loads(done.stdout):
            if line["name"] in SRS_LOADS:
                values.setdefault(SRS_LOADS[line["name"]], []).append(line["per_cpu_s"])
    return {key: sorted(v)[len(v) // 2] for key, v in values.items()}


def describe(args):
    commit = subprocess.run(["git", "-C", TOP, "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                            check=False).stdout.strip() or "unknown"
    words = " ".join(["tools/bench/fs", *sys.argv[1:]])
    return (f"commit {commit}, {time.strftime('%F %H:%M', time.gmtime())} UTC, kernel {os.uname().release}, "
            f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}: `{words}`")


def write_results(out, header, rounds, cpu, server):
    table, used = report.medians(rounds), report.medians(cpu)
    text = report.render(header, rounds, table, used, server)
    report.write_json(out / "results.json", header, rounds, used, table, server)
    (out / "table.md").write_text(text)
    return text


def main():
    args = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    os.nice(args.nice)
    raise_priority([os.getpid()], args.nice)
    enter_own_mounts()
    args.out.mkdir(parents=True, exist_ok=True)
    tools = Tools(args.build, args.work)
    kinds = [k for k in ALL if k.name in args.peers and k.available(tools)]
    tools.tarball = source_tarball(tools.work, args.scale)
    header, rounds, cpu, failures, server, text = describe(args), [], [], [], {}, ""
    args.images = pathlib.Path(tempfile.mkdtemp(prefix="phr-bench-", dir=args.images))
    args.images.chmod(0o755)
    tools.realms = args.images / "realms"
    tools.realms.mkdir()
    try:
        if "srs" in args.only:
            server = run_srs(tools, args.rounds)
        for number in range(args.rounds):
            figures, used = run_round(number, kinds, tools, args, failures)
            rounds.append(figures)
            cpu.append(used)
            text = write_results(args.out, header, rounds, cpu, server)
    finally:
        shutil.rmtree(args.images)
    draw(report.__file__, args.out / "results.json", args.out / "plot.svg")
    print(text)
    for failure in failures:
        print(f"not measured: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"tools/bench/fs: {error}")
    except KeyboardInterrupt:
        sys.exit(130)

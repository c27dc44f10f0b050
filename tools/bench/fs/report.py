"""Medians, ratios, goals: as a table, as JSON and as a plot.

  /usr/bin/python3 tools/bench/fs/report.py results.json plot.svg     draws a run again
"""
import json
import pathlib
import statistics
import sys
from typing import NamedTuple

from workloads import FIGURES

OWNER, READER = "phrfs", "phrfs-reader"
PEERS = ["ext4", "passthrough", "gocryptfs", "encfs", "securefs", "cryfs", OWNER, READER]
SIDECAR = "phrd"  # what it used of the processor while the owner worked
ENCRYPTED = ["gocryptfs", "encfs", "securefs", "cryfs"]
BEST = "best peer"


class Goal(NamedTuple):
    """At least `limit` times as fast as `against`; without it, at most (for times) or at least `limit` itself."""

    key: str
    limit: float
    against: str = ""
    actor: str = OWNER


# The table of the issue. "at most 1.2 x the time" is 1 / 1.2 of the speed.
GOALS = [
    Goal("seq_write", 1.8, "gocryptfs"), Goal("seq_write", 0.85, "passthrough"),
    Goal("seq_read_cold", 1.7, "gocryptfs"), Goal("seq_read_cold", 0.85, "passthrough"),
    Goal("seq_read_warm", 3.5, "gocryptfs"), Goal("seq_read_warm", 0.9, "passthrough"),
    Goal("rand_read_1", 1.0, BEST), Goal("rand_read_4", 1.0, BEST),
    Goal("rand_write", 5, "gocryptfs"), Goal("rand_write", 3, BEST), Goal("rand_write", 0.5, "passthrough"),
    Goal("create", 1.5, "gocryptfs"), Goal("create", 1.0, BEST),
    Goal("ls_cold", 2.5, "gocryptfs"), Goal("ls_cold", 1.2, BEST), Goal("ls_warm", 4, "gocryptfs"),
    Goal("small_read", 1.25, "gocryptfs"), Goal("delete", 1.4, "gocryptfs"),
    Goal("unpack_rm", 1.5, "gocryptfs"), Goal("unpack_rm", 1.0, BEST),
    Goal("dicom_write", 1.4, "gocryptfs"), Goal("dicom_read", 1.1, "gocryptfs"),
    Goal("dicom_read", 1.0, "gocryptfs", READER),
    Goal("open_cold", 1 / 1.2, "gocryptfs"), Goal("open_warm", 2, "gocryptfs"),
    Goal("open_alone", 1500, "", READER), Goal("open_cold", 250, "", READER),
    Goal("sqlite", 1.5, "gocryptfs"),
    Goal("rss", 80),
    Goal("srs_1", 5000), Goal("srs_16", 8000),
]

# Measured by srs_bench, without a file system.
SERVER = {"srs_1": "SRS opens per CPU second, 16 clients, requests of 1 file",
          "srs_16": "SRS opens per CPU second, 16 clients, requests of 16 files"}


def medians(rounds):
    """{peer: {figure: median}} of [{peer: {figure: value}}]."""
    table = {}
    for peer in [*PEERS, SIDECAR]:
        keys = {key for r in rounds for key in r.get(peer, {})}
        if keys:
            table[peer] = {key: statistics.median(r[peer][key] for r in rounds if key in r.get(peer, {}))
                           for key in keys}
    return table


def title_of(key):
    return FIGURES[key].title if key in FIGURES else SERVER[key]


def speed_ratio(key, ours, theirs):
    """How many times as fast ours is."""
    if not ours or not theirs:
        return None
    return theirs / ours if key in FIGURES and FIGURES[key].is_time else ours / theirs


def best_of(table, key):
    """The fastest encrypted peer: its name and figure."""
    have = [(table[p][key], p) for p in ENCRYPTED if key in table.get(p, {})]
    if not have:
        return None, None
    value, name = (min if FIGURES[key].is_time else max)(have)
    return name, value


def judge(table, server, rounds=()):
    """One row per goal: what was to be reached, what was by the medians, whether, and what each round says."""
    rows = []
    for goal in GOALS:
        ours = server.get(goal.key) if goal.key in SERVER else table.get(goal.actor, {}).get(goal.key)
        if ours is None:
            continue
        row = {"key": goal.key, "actor": goal.actor, "against": goal.against, "limit": goal.limit, "ours": ours}
        if goal.against:
            name, theirs = goal.against, table.get(goal.against, {}).get(goal.key)
            if goal.against == BEST:
                name, theirs = best_of(table, goal.key)
            row["peer"], row["theirs"] = name, theirs
            row["ratio"] = speed_ratio(goal.key, ours, theirs)
            if row["ratio"] is None:
                continue
            row["reached"] = row["ratio"] >= goal.limit
        else:
            is_most = goal.key in FIGURES and FIGURES[goal.key].is_time
            row["reached"] = ours <= goal.limit if is_most else ours >= goal.limit
        add_spread(row, goal, rounds)
        rows.append(row)
    return rows


def add_spread(row, goal, rounds):
    """A verdict that the rounds do not share is no verdict, whatever the median says."""
    values = []
    for r in rounds:
        ours = r.get(goal.actor, {}).get(goal.key)
        theirs = r.get(row.get("peer") or "", {}).get(goal.key)
        value = speed_ratio(goal.key, ours, theirs) if goal.against else ours
        if value:
            values.append(value)
    row["spread"] = [min(values), max(values)] if values else None
    is_most = not goal.against and goal.key in FIGURES and FIGURES[goal.key].is_time
    verdicts = {v <= goal.limit if is_most else v >= goal.limit for v in values}
    row["is_shared"] = len(verdicts) < 2


# ---- text -------------------------------------------------------------------------------------

def show(value):
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def figures_table(table):
    peers = [p for p in PEERS if p in table]
    lines = ["| figure | unit | " + " | ".join(peers) + " |", "|---|---|" + "---:|" * len(peers)]
    for key, figure in FIGURES.items():
        if any(key in table[p] for p in peers):
            cells = " | ".join(show(table[p].get(key)) for p in peers)
            lines.append(f"| {figure.title} | {figure.unit} | {cells} |")
    return lines


def cpu_table(cpu):
    """Microseconds of the server's processor per unit of work: what a busy machine changes least."""
    peers = [p for p in [*PEERS, SIDECAR] if cpu.get(p) and p != "ext4"]
    lines = ["| CPU of the server, us per | " + " | ".join(peers) + " |", "|---|" + "---:|" * len(peers)]
    for key, figure in FIGURES.items():
        if any(cpu[p].get(key) for p in peers):
            unit = "open" if figure.is_time else figure.unit.removesuffix("s/s").removesuffix("/s")
            cells = " | ".join(show(cpu[p].get(key)) for p in peers)
            lines.append(f"| {figure.title} ({unit}) | {cells} |")
    return lines


def goal_text(row):
    if row["against"]:
        return f"{row['limit']:.2f} x {row['against']}"
    unit = FIGURES[row["key"]].unit if row["key"] in FIGURES else "/s"
    is_most = row["key"] in FIGURES
    return f"at {'most' if is_most else 'least'} {row['limit']:,.0f} {unit}"


def goals_table(rows, table):
    lines = ["| workload | who | x gocryptfs | x passthrough | x best peer | goal | rounds | reached |",
             "|---|---|---:|---:|---:|---|---|---|"]
    for row in rows:
        key, cells = row["key"], []
        for against in ("gocryptfs", "passthrough", BEST):
            name, theirs = against, table.get(against, {}).get(key)
            if against == BEST and key in FIGURES:
                name, theirs = best_of(table, key)
            ratio = speed_ratio(key, row["ours"], theirs)
            tail = f" ({name})" if against == BEST and name else ""
            cells.append(f"{ratio:.2f}{tail}" if ratio else "")
        verdict = "yes" if row["reached"] else "**no**: " + short_by(row)
        if not row["is_shared"]:
            verdict = f"open: rounds disagree (median {'yes' if row['reached'] else 'no'})"
        spread = " .. ".join(show(v) for v in row["spread"]) if row["spread"] else ""
        value = "" if row["against"] else f" ({show(row['ours'])})"
        lines.append(f"| {title_of(key)}{value} | {row['actor'] if key in FIGURES else 'phrd'} | "
                     f"{' | '.join(cells)} | {goal_text(row)} | {spread} | {verdict} |")
    return lines


def short_by(row):
    reached = row["ratio"] if row["against"] else row["ours"]
    share = reached / row["limit"]
    if not row["against"] and row["key"] in FIGURES:
        return f"{(share - 1) * 100:.0f} % over"
    return f"{(1 - share) * 100:.0f} % short"


def render(header, rounds, table, cpu, server):
    rows = judge(table, server, rounds)
    reached = sum(r["reached"] and r["is_shared"] for r in rows)
    disputed = sum(not r["is_shared"] for r in rows)
    summary = (f"Of {len(rows)} goals {reached} reached, {len(rows) - reached - disputed} missed, {disputed} open because the "
               "rounds disagree. Ratios are of speed: more is better; rounds: least and most.")
    return "\n".join([header, "", summary, "",
                      *goals_table(rows, table), "", *figures_table(table), "", *cpu_table(cpu), ""])


def write_json(path, header, rounds, cpu, table, server):
    path.write_text(json.dumps({"run": header, "medians": table, "server": server, "goals": judge(table, server, rounds),
                                "server_cpu_us": cpu, "rounds": rounds}, indent=1) + "\n")


# ---- plot -------------------------------------------------------------------------------------

def write_plot(results, path):
    """Speed against gocryptfs, one bar per peer. Needs Debian's python3-matplotlib."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    table = json.loads(pathlib.Path(results).read_text())["medians"]
    keys = [k for k in FIGURES if k in table.get("gocryptfs", {}) and k in table.get(OWNER, {})]
    peers = [p for p in PEERS if p in table and p != "gocryptfs"]
    if not keys or not peers:
        return
    figure, axes = pyplot.subplots(figsize=(10, 0.45 * len(keys) + 2))
    height = 0.8 / len(peers)
    for i, peer in enumerate(peers):
        places, values = [], []
        for row, key in enumerate(keys):
            ratio = speed_ratio(key, table[peer].get(key), table["gocryptfs"][key])
            if ratio:
                places.append(row + 0.4 - height * (i + 0.5))
                values.append(ratio)
        axes.barh(places, values, height=height, label=peer)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(keys)), [FIGURES[k].title for k in keys])
    axes.invert_yaxis()
    axes.set_xlabel("times the speed of gocryptfs (log)")
    axes.legend(loc="lower right", fontsize="small")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


if __name__ == "__main__":
    write_plot(*sys.argv[1:])

"""The curves as a table and as a plot.

  /usr/bin/python3 tools/bench/growth/curves.py growth.json growth.svg     draws a run again
"""
import json
import pathlib
import sys


def columns(rows):
    seen = []
    for row in rows:
        seen += [key for key in row if key not in seen]
    return seen


def show(value):
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def flatness(rows, key):
    """The figure at the largest size over that at the smallest."""
    values = [row[key] for row in rows if row.get(key)]
    return f"x {values[-1] / values[0]:.2f}" if len(values) > 1 else ""


def render(command, results):
    lines = [f"`{command}`", ""]
    for name, rows in results.items():
        keys = [key for key in columns(rows) if key != name]
        lines += [f"| {name} | " + " | ".join(show(row[name]) for row in rows) + " | largest to smallest |",
                  "|---|" + "---:|" * (len(rows) + 1)]
        lines += [f"| {key} | " + " | ".join(show(row.get(key)) for row in rows) + f" | {flatness(rows, key)} |"
                  for key in keys]
        lines.append("")
    return "\n".join(lines)


def write_plot(results, path):
    """Each figure over the size, as a multiple of its value at the smallest size."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    results = json.loads(pathlib.Path(results).read_text())
    shown = {name: rows for name, rows in results.items() if len(rows) > 1}
    if not shown:
        return
    figure, axes = pyplot.subplots(1, len(shown), figsize=(7 * len(shown), 5), squeeze=False)
    for place, (name, rows) in zip(axes[0], shown.items()):
        for key in columns(rows):
            points = [(row[name], row[key]) for row in rows if row.get(key)]
            if key != name and len(points) > 1:
                place.plot([p[0] for p in points], [p[1] / points[0][1] for p in points], marker="o", label=key)
        place.set_xscale("log")
        place.set_yscale("log")
        place.set_xlabel(name)
        place.set_ylabel("times the figure at the smallest size")
        place.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


if __name__ == "__main__":
    write_plot(*sys.argv[1:])

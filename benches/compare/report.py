"""Results as Markdown tables and as a plot."""

FIGURES = (("cpu", "CPU s", 1), ("wall", "wall s", 1), ("rss", "peak MB", 1), ("bytes", "MB written", 1e6))

# Tidegate first, then peers, always in the same colours.
COLOURS = {
    "tidegate": "#0b7285", "duckdb": "#f2b705", "polars": "#7048e8", "chdb": "#e8590c",
    "datafusion": "#868e96",
}

# The maximum number of cells in the plot.
MOST_PLOTTED = 8


def is_peer(tool):
    return not tool.startswith("tidegate") and tool != "floor"


def best_peer(cell, figure, but=None):
    """The peer with the smallest figure, and that figure."""
    peers = {name: t[figure] for name, t in cell["tools"].items() if is_peer(name) and name != but}
    return min(peers.items(), key=lambda peer: peer[1], default=(None, float("nan")))


def ratio(cell, tool, figure):
    """The ratio to the best peer. For the best peer itself, the ratio to the second best."""
    return cell["tools"][tool][figure] / best_peer(cell, figure, tool)[1]


def number(amount):
    return f"{amount:.2f}" if amount < 100 else f"{amount:.0f}"


def summary(cells):
    """A line for each cell: Tidegate, and its ratio to the best peer."""
    lines = [
        "| scale | to | table | | CPU s | | wall s | | unsynced | peak MB | with 256 MB | MB written | |",
        "|---:|---|---|---|---:|---|---:|---|---|---:|---:|---:|---|",
    ]
    for cell in cells:
        if "tidegate" not in cell["tools"]:
            continue
        ours = cell["tools"]["tidegate"]
        columns = [cell["scale"], cell["place"], cell["table"], cell["kind"]]
        for figure, _, unit in FIGURES:
            columns.append(number(ours[figure] / unit))
            peer, least = best_peer(cell, figure)
            if figure == "rss":
                limited = cell["tools"].get("tidegate 256MB")
                columns.append(number(limited["rss"]) if limited else "")
            else:
                columns.append(f"{ours[figure] / least:.2f} × {peer}" if peer else "")
            if figure == "wall":
                unsynced = cell["tools"].get("tidegate unsynced")
                columns.append(f"{unsynced['wall'] / least:.2f} ×" if unsynced and peer else "")
        lines.append("| " + " | ".join(columns) + " |")
    return "\n".join(lines) + "\n"


def table(cells):
    lines = []
    for cell in cells:
        lines.append(f"\n**{cell['table']}, {cell['kind']}** to {cell['place']}, scale {cell['scale']}\n")
        lines.append("| | " + " | ".join(name for _, name, _ in FIGURES) + " |")
        lines.append("|---|" + "---:|" * len(FIGURES))
        for tool, taken in cell["tools"].items():
            figures = [f"{number(taken[figure] / unit)} ({ratio(cell, tool, figure):.2f})"
                       for figure, _, unit in FIGURES]
            lines.append(f"| {tool} | " + " | ".join(figures) + " |")
        for tool, why in cell["failed"].items():
            lines.append(f"| {tool} | {why} | | | |")
    return "\n".join(lines) + "\n"


def plot(cells):
    """Bars of CPU and wall seconds of Tidegate and its peers, each cell on its own scale."""
    bar, gap, left, width = 14, 3, 250, 900
    rows, y = [], 30
    for cell in [cell for cell in cells if "tidegate" in cell["tools"]][:MOST_PLOTTED]:
        rows.append(text(8, y + bar, f"{cell['table']}, {cell['kind']}, {cell['place']}, SF{cell['scale']}", "600"))
        y += bar + 8
        tools = {tool: taken for tool, taken in cell["tools"].items() if tool in COLOURS}
        for figure, name in (("cpu", "CPU"), ("wall", "wall")):
            most = max(taken[figure] for taken in tools.values())
            for tool, taken in tools.items():
                length = (width - left - 90) * taken[figure] / most
                rows.append(text(left - 8, y + bar - 3, f"{name} {tool}", anchor="end"))
                rows.append(
                    f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar}" '
                    f'fill="{COLOURS[tool]}"/>')
                rows.append(text(left + length + 6, y + bar - 3, f"{taken[figure]:.2f} s"))
                y += bar + gap
            y += 6
        y += 14
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" '
        f'font-family="system-ui, sans-serif" font-size="12">\n'
        f'<rect width="{width}" height="{y}" fill="white"/>\n' + "\n".join(rows) + "\n</svg>\n")


def text(x, y, words, weight="400", anchor="start"):
    words = words.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y}" font-weight="{weight}" text-anchor="{anchor}">{words}</text>'

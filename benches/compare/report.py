"""Results as a Markdown table and as a plot."""

FIGURES = (("cpu", "CPU s", 1), ("wall", "wall s", 1), ("rss", "peak MB", 1), ("bytes", "MB written", 1e6))

# Tidegate first, then peers, always in the same colours.
COLOURS = {
    "tidegate": "#0b7285", "duckdb": "#f2b705", "polars": "#7048e8", "chdb": "#e8590c",
    "datafusion": "#868e96",
}


def ratio(cell, tool, figure):
    """To the best peer; to the best other peer for the best one."""
    peers = [t[figure] for name, t in cell["tools"].items() if name not in ("tidegate", tool)]
    return cell["tools"][tool][figure] / min(peers) if peers else float("nan")


def table(cells):
    lines = []
    for cell in cells:
        lines.append(f"\n**{cell['kind']}** to {cell['place']}, scale {cell['scale']}\n")
        lines.append("| | " + " | ".join(name for _, name, _ in FIGURES) + " |")
        lines.append("|---|" + "---:|" * len(FIGURES))
        for tool, taken in cell["tools"].items():
            figures = []
            for figure, _, unit in FIGURES:
                amount = taken[figure] / unit
                shown = f"{amount:.2f}" if amount < 100 else f"{amount:.0f}"
                figures.append(f"{shown} ({ratio(cell, tool, figure):.2f})")
            lines.append(f"| {tool} | " + " | ".join(figures) + " |")
        for tool, why in cell["failed"].items():
            lines.append(f"| {tool} | {why} | | | |")
    return "\n".join(lines) + "\n"


def plot(cells):
    """Bars of CPU and wall seconds, each cell on its own scale."""
    bar, gap, left, width = 14, 3, 250, 900
    rows, y = [], 30
    for cell in cells:
        rows.append(text(8, y + bar, f"{cell['kind']}, {cell['place']}, SF{cell['scale']}", "600"))
        y += bar + 8
        for figure, name in (("cpu", "CPU"), ("wall", "wall")):
            most = max(taken[figure] for taken in cell["tools"].values())
            for tool, taken in cell["tools"].items():
                length = (width - left - 90) * taken[figure] / most
                rows.append(text(left - 8, y + bar - 3, f"{name} {tool}", anchor="end"))
                rows.append(
                    f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar}" '
                    f'fill="{COLOURS.get(tool, "#adb5bd")}"/>')
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

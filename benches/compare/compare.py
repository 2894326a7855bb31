"""Times exports of several tables with Tidegate and its peers, in turn, and prints ratios.

A cell is a table (datasets.py), a kind of job (tools.py), a target and a scale. The target is the local disk, or the
embedded S3 server in a process of its own, either directly or behind a proxy that delays each
answer by 0 or 50 ms. In every round each tool runs once, in a process of its own, on the same
Parquet file, with the same number of threads and the same compression. Only the statement is timed.
Peers are timed inside their process, around the statement. Tidegate's process is timed as a whole,
and the time of a process that runs `SELECT 1` is subtracted. A time counts only if the rows written
are the expected rows, compared by a digest of all values.

Tidegate also runs with 256 MB of memory. To the local disk, it also runs without waiting for the disk,
as the peers do, on one core (another core
in each round), and twice at once, each process on a core of its own. That shows the gain from the
second core if nothing is shared, not even a process. The floor of a cell is the work that no tool
can avoid: reading the source (as Tidegate does), compressing about the bytes that Tidegate has
before compression, and writing the result to the disk. The steps run one after the other, so only
the CPU seconds of the floor are meaningful.

Medians are printed, and ratios to the best peer. The machine may be noisy: look at CPU seconds
beside wall seconds, and at ratios. The comparison fails if Tidegate writes more than 1.05 times the
bytes of the peer that writes least.
"""

import argparse
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import report
from datasets import GENERATED, make_data
from tools import BUCKET, KEY, KINDS, PEERS, SECRET, folder_of

HERE = pathlib.Path(__file__).parent
FIGURES = ("wall", "cpu", "rss")
MOST_BYTES = 1.05

# Variants of Tidegate, with their command-line options. The variants in ON_ONE_CORE are pinned to
# one core.
VARIANTS = {
    "tidegate": (),
    "tidegate unsynced": (),
    "tidegate 256MB": ("--memory-limit", "256MB"),
    "tidegate 1 core": (),
    "tidegate twice": (),
}
ON_ONE_CORE = ("tidegate 1 core", "tidegate twice")

TABLES = ("lineitem", "wide", "taxi", "logs", "doubles", "nested", "small files")

# The kinds of jobs of the tables that do not have all kinds without a query or PARTITION BY.
PLAIN = [name for name, kind in KINDS.items() if not kind.query and not kind.by]
JOBS = {
    "lineitem": [name for name, kind in KINDS.items() if kind.by != "key"],
    # Tools write nested values to CSV in forms of their own.
    "nested": [name for name in PLAIN if name != "csv"],
    "keys": ["parquet snappy by key"],
}


def runs_here(tool, kind, place):
    """Whether a tool is measured in a cell."""
    if tool == "tidegate twice" and len(os.sched_getaffinity(0)) < 2:
        return False
    if tool == "tidegate unsynced":
        return place == "local"
    if tool == "floor" or tool in ON_ONE_CORE:
        return place == "local" and not KINDS[kind].query and KINDS[kind].format != "json"
    # The proxy without a delay only gives the rate that Tidegate's rate with 50 ms is compared to.
    return place != "s3+0ms" or tool == "tidegate"


def start_tidegate(program, script, threads, options=(), core=None):
    """Starts a script, pinned to `core` if it is given. Returns an argument for finish_tidegate."""
    pinned = [] if core is None else ["taskset", "--cpu-list", str(core)]
    command = [*pinned, program, "--catalog", ":memory:", "--threads", str(threads), *options, "-q", "-c", script]
    started = time.perf_counter()
    return started, subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish_tidegate(*running):
    """Waits for scripts. Returns time and memory of each process, in the order of ending."""
    by_process = {process.pid: (started, process) for started, process in running}
    took = []
    for _ in running:
        ended, status, usage = os.wait4(-1, 0)
        if ended not in by_process:
            sys.exit("the S3 server or its proxy has ended")
        started, process = by_process[ended]
        wall = time.perf_counter() - started
        errors = process.stderr.read()
        if status != 0:
            raise RuntimeError(errors.strip().splitlines()[0])
        cpu = usage.ru_utime + usage.ru_stime
        took.append({"wall": wall, "cpu": cpu, "rss": usage.ru_maxrss / 1024})
    return took


def run_tidegate(program, script, threads, options=(), core=None):
    [took] = finish_tidegate(start_tidegate(program, script, threads, options, core))
    return took


def run_twice(job, options, cores, start_up):
    """Runs two exports at once. Wall seconds are half of the time until both have ended."""
    jobs = [job, {**job, "target": job["target"] + "-twin"}]
    took = finish_tidegate(*(
        start_tidegate(options.tidegate, tidegate_script(twin), 1, core=core)
        for twin, core in zip(jobs, cores)
    ))
    shutil.rmtree(jobs[1]["target"])
    return {
        "wall": (max(each["wall"] for each in took) - start_up["wall"]) / 2,
        "cpu": statistics.mean(each["cpu"] for each in took) - start_up["cpu"],
        "rss": max(each["rss"] for each in took),
    }


def create_table(job):
    return f"CREATE EXTERNAL TABLE rows STORED AS PARQUET LOCATION '{folder_of(job['source'])}';"


def tidegate_script(job):
    kind = KINDS[job["kind"]]
    options = [f"FORMAT {kind.format}"]
    if kind.compression == "zstd":
        options.append("COMPRESSION 'zstd(3)'")
    if kind.format == "parquet" and not kind.moved:
        options.append("PASSTHROUGH 'off'")
    if kind.by:
        options.append(f"PARTITION BY ({kind.by})")
    if job["target"].startswith("s3://"):
        options.append("AWS CONNECTION c")
    if job.get("unsynced"):
        options.append("SYNC false")
    source = f"({kind.query.format('rows')})" if kind.query else "rows"
    return (
        f"CREATE SECRET s AS '{SECRET}';"
        f"CREATE CONNECTION c TO AWS (ACCESS KEY ID = '{KEY}', SECRET ACCESS KEY = SECRET s,"
        f" ENDPOINT = '{job['endpoint']}');"
        f"{create_table(job)} COPY {source} TO '{job['target']}' ({', '.join(options)})"
    )


def run_floor(job, options, start_up):
    """Runs the scan with Tidegate, then the codec and the writes with tools.py."""
    table = create_table(job)
    scan = run_tidegate(options.tidegate, f"{table} EXPLAIN ANALYZE SELECT * FROM rows", job["threads"])
    plain = f"{job['target']}-plain"
    without_codec = "(FORMAT csv)" if KINDS[job["kind"]].format == "csv" else "(FORMAT parquet, COMPRESSION none, PASSTHROUGH off)"
    run_tidegate(options.tidegate, f"{table} COPY rows TO '{plain}' {without_codec}", job["threads"])
    command = [sys.executable, HERE / "tools.py", "floor", json.dumps({**job, "plain": plain})]
    rest = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    shutil.rmtree(plain)
    return {
        "wall": scan["wall"] - start_up["wall"] + rest["wall"],
        "cpu": scan["cpu"] - start_up["cpu"] + rest["cpu"], "rss": rest["rss"],
    }


def run_job(tool, job, options, start_up, round_number):
    cores = sorted(os.sched_getaffinity(0))
    if tool == "tidegate twice":
        return run_twice(job, options, cores, start_up)
    if tool == "floor":
        return run_floor(job, options, start_up)
    if tool not in VARIANTS:
        command = [sys.executable, HERE / "tools.py", tool, json.dumps(job)]
        environment = {**os.environ, "POLARS_MAX_THREADS": str(job["threads"])}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        return json.loads(done.stdout.splitlines()[-1])
    one_core = cores[round_number % len(cores)] if tool in ON_ONE_CORE else None
    threads = job["threads"] if one_core is None else 1
    script = tidegate_script({**job, "unsynced": tool == "tidegate unsynced"})
    took = run_tidegate(options.tidegate, script, threads, VARIANTS[tool], one_core)
    return {**took, "wall": took["wall"] - start_up["wall"], "cpu": took["cpu"] - start_up["cpu"]}


def digest_of(job):
    """Computes the digest in another process, to keep this one small: a child's peak memory counts
    from its parent's size."""
    command = [sys.executable, HERE / "tools.py", "check", json.dumps(job)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def is_same(found, expected):
    """Compares digests. Files may lack the partition column; then only the rows are counted."""
    found, expected = found.split(), expected.split()
    return found[0] == expected[0] and (found[2] != expected[2] or found == expected)


def compare(cell, options, source, root, endpoint, start_up, expected):
    """Runs all tools in turn. Returns medians and bytes written of the tools that succeed."""
    table, kind, place, scale = cell
    tools = [tool for tool in options.tools.split(",") if runs_here(tool, kind, place)]
    taken = {tool: [] for tool in tools}
    written, failed = {}, {}
    for round_number in range(options.rounds):
        for tool in tools:
            if tool in failed:
                continue
            name = f"{tool}-{round_number}"
            folder = (root if place == "local" else root / BUCKET) / name
            job = {
                "kind": kind, "source": source, "endpoint": endpoint, "threads": options.threads,
                "target": str(folder) if place == "local" else f"s3://{BUCKET}/{name}",
            }
            try:
                took = run_job(tool, job, options, start_up, round_number)
            except RuntimeError as error:
                failed[tool] = str(error)
                shutil.rmtree(folder, ignore_errors=True)
                continue
            taken[tool].append(took)
            written[tool] = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
            if tool == "floor":
                shutil.rmtree(folder)
                continue
            digest = digest_of({**job, "files": f"{folder}/**/*.{KINDS[kind].format}"})
            shutil.rmtree(folder)
            if not is_same(digest, expected):
                if tool in VARIANTS:
                    sys.exit(f"{tool}, {table}, {kind}: wrote {digest} instead of {expected}")
                failed[tool] = "wrote other values"
    medians = {
        tool: {
            **{figure: statistics.median(t[figure] for t in runs) for figure in FIGURES},
            "bytes": written[tool],
        }
        for tool, runs in taken.items() if runs and tool not in failed
    }
    return {"table": table, "kind": kind, "place": place, "scale": scale, "tools": medians, "failed": failed}


class Results:
    """Measured cells, which replace those of earlier runs in a folder one by one."""

    def __init__(self, folder):
        self.folder, self.measured, self.all = folder, [], {}
        file = folder / "results.json" if folder else None
        if file and file.exists():
            self.all = {self.name(cell): cell for cell in json.loads(file.read_text())}

    @staticmethod
    def name(cell):
        return cell["scale"], cell["place"], cell["table"], cell["kind"]

    def add(self, cell):
        self.measured.append(cell)
        self.all[self.name(cell)] = cell
        if not self.folder:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        cells = sorted(self.all.values(), key=lambda cell: (float(cell["scale"]), cell["place"], cell["table"]))
        (self.folder / "results.json").write_text(json.dumps(cells, indent=1))
        (self.folder / "results.md").write_text(report.summary(cells) + report.table(cells))
        (self.folder / "results.svg").write_text(report.plot(cells))


def is_too_large(cell):
    """Whether Tidegate writes too many bytes. Ignores aggregates: they are mostly footer."""
    ours = [tool for tool in cell["tools"] if tool in VARIANTS and cell["kind"] != "aggregate"]
    return any(report.ratio(cell, tool, "bytes") > MOST_BYTES for tool in ours)


def jobs(options):
    """The scales, tables and kinds that are asked for."""
    for scale in options.scales.split(","):
        for table in options.tables.split(","):
            for kind in options.kinds.split(","):
                if kind in JOBS.get(table, PLAIN):
                    yield scale, table, kind


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port):
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit("the S3 server does not start")


def measure_start_up(options):
    runs = [run_tidegate(options.tidegate, "SELECT 1", options.threads) for _ in range(9)]
    return {figure: statistics.median(run[figure] for run in runs[1:]) for figure in FIGURES}


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--tidegate", required=True)
    options.add_argument("--data", type=pathlib.Path, required=True)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--scales", default="1")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--tables", default=",".join(TABLES), help=f"also {set(GENERATED) - set(TABLES)}")
    options.add_argument("--kinds", default=",".join(KINDS))
    options.add_argument("--targets", default="local,s3,s3+0ms,s3+50ms")
    options.add_argument("--tools", default=",".join([*VARIANTS, "floor", *PEERS]))
    options.add_argument("--results", type=pathlib.Path, help="a folder for results.md, .json and .svg")
    options = options.parse_args()

    start_up = measure_start_up(options)
    cells = Results(options.results)
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as root:
        root = pathlib.Path(root)
        (root / BUCKET).mkdir()
        port = free_port()
        running = [subprocess.Popen(
            [options.tidegate, "s3", "--root", root, "--listen", f"127.0.0.1:{port}",
             "--access-key-id", KEY, "--secret-access-key", SECRET], stdout=subprocess.DEVNULL)]
        try:
            wait_for(port)
            for place in options.targets.split(","):
                endpoint = f"http://127.0.0.1:{port}"
                if place.endswith("ms"):
                    delayed = free_port()
                    seconds = float(place.removeprefix("s3+").removesuffix("ms")) / 1000
                    running.append(subprocess.Popen(
                        [sys.executable, HERE / "delay.py", str(delayed), str(port), str(seconds)]))
                    wait_for(delayed)
                    endpoint = f"http://127.0.0.1:{delayed}"
                for scale, table, kind in jobs(options):
                    source = str(make_data(table, options.data, scale))
                    expected = digest_of({
                        "kind": kind, "source": source, "files": source, "threads": options.threads})
                    cell = compare(
                        (table, kind, place, scale), options, source, root, endpoint, start_up, expected)
                    cells.add(cell)
                    print(report.table([cell]), flush=True)
        finally:
            for process in reversed(running):
                process.terminate()
                process.wait()
    too_large = [cell for cell in cells.measured if is_too_large(cell)]
    if too_large:
        sys.exit("too many bytes written:\n" + report.table(too_large))


if __name__ == "__main__":
    main()

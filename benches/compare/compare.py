"""Exports TPC-H lineitem with Tidegate and its peers, in turn, and prints ratios.

Each cell is a format and a target: the local disk; the embedded S3 server in a process of its own;
that server behind a proxy that adds nothing, or 50 ms, to each request. In every round
each tool runs once, in a process of its own, on the same Parquet file with the same number of
threads. Peers are timed inside their process, around the statement; of Tidegate the whole process is
timed. What was written is counted before a time counts. Medians are printed, and ratios to the best
peer; the machine may be noisy, so look at CPU seconds beside wall seconds.
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

KEY, SECRET, BUCKET = "bench-key", "bench-secret", "bench"
PEERS = ("duckdb", "polars", "datafusion")


def peer(tool, source, target, kind, endpoint, threads):
    """Runs one peer in this process and prints what it took as JSON."""
    import resource

    extension = {"parquet": "parquet", "csv": "csv"}[kind]
    os.environ["POLARS_MAX_THREADS"] = str(threads)
    url, on_s3 = target, target.startswith("s3://")
    if tool == "duckdb":
        import duckdb

        db = duckdb.connect(config={"threads": threads})
        if on_s3:
            import duckdb_extension_httpfs

            package = pathlib.Path(duckdb_extension_httpfs.__path__[0])
            db.execute(f"LOAD '{next(package.rglob('httpfs.duckdb_extension'))}'")
            db.execute(
                f"CREATE SECRET (TYPE s3, KEY_ID '{KEY}', SECRET '{SECRET}', REGION 'us-east-1', "
                f"ENDPOINT '{endpoint.removeprefix('http://')}', URL_STYLE 'path', USE_SSL false)"
            )
        options = "FORMAT parquet, COMPRESSION snappy" if kind == "parquet" else "FORMAT csv, HEADER false"
        sql = f"COPY (FROM '{source}') TO '{url}' ({options}, PER_THREAD_OUTPUT true)"
        work = lambda: db.execute(sql)
    elif tool == "polars":
        import polars as pl

        storage = {
            "aws_access_key_id": KEY, "aws_secret_access_key": SECRET,
            "aws_endpoint_url": endpoint, "aws_region": "us-east-1", "aws_allow_http": "true",
        } if on_s3 else None
        if not on_s3:
            pathlib.Path(url).mkdir()
        frame = pl.scan_parquet(source)
        file = f"{url}/part.{extension}"
        if kind == "parquet":
            work = lambda: frame.sink_parquet(file, compression="snappy", storage_options=storage)
        else:
            work = lambda: frame.sink_csv(file, include_header=False, storage_options=storage)
    else:
        import datafusion
        from datafusion.object_store import AmazonS3

        context = datafusion.SessionContext(
            datafusion.SessionConfig().with_target_partitions(threads)
        )
        if on_s3:
            store = AmazonS3(
                bucket_name=BUCKET, region="us-east-1", access_key_id=KEY,
                secret_access_key=SECRET, endpoint=endpoint, allow_http=True,
            )
            context.register_object_store("s3://", store)
        context.register_parquet("lineitem", source)
        options = "OPTIONS ('format.compression' 'snappy')" if kind == "parquet" else "OPTIONS ('format.has_header' 'false')"
        sql = f"COPY lineitem TO '{url}/' STORED AS {kind.upper()} {options}"
        work = lambda: context.sql(sql).collect()
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    work()
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"wall": wall, "cpu": cpu, "rss": after.ru_maxrss / 1024}))


def tidegate(program, source, target, kind, endpoint, threads, limits):
    """Runs Tidegate and returns what the whole process took."""
    connection = "AWS CONNECTION c," if target.startswith("s3://") else ""
    script = (
        f"CREATE SECRET s AS '{SECRET}';"
        f"CREATE CONNECTION c TO AWS (ACCESS KEY ID = '{KEY}', SECRET ACCESS KEY = SECRET s,"
        f" ENDPOINT = '{endpoint}');"
        f"CREATE EXTERNAL TABLE lineitem STORED AS PARQUET LOCATION '{source}';"
        f"COPY lineitem TO '{target}' ({connection} FORMAT {kind})"
    )
    started = time.perf_counter()
    process = subprocess.Popen(
        [program, "--catalog", ":memory:", "--threads", str(threads), *limits, "-q", "-c", script],
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    if status != 0:
        sys.exit("tidegate failed")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss / 1024}


def count_rows(files, kind):
    """Counts rows in a process of its own: a child's peak memory counts from its parent's size."""
    command = [sys.executable, __file__, "count", files, kind]
    return int(subprocess.run(command, check=True, capture_output=True).stdout)


def count(files, kind):
    import duckdb

    relation = f"read_parquet('{files}')" if kind == "parquet" else f"read_csv('{files}', header=false, all_varchar=true)"
    print(duckdb.sql(f"SELECT count(*) FROM {relation}").fetchone()[0])


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--tidegate", required=True)
    options.add_argument("--data", type=pathlib.Path, required=True)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--scale", default="1")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--formats", default="parquet,csv")
    options.add_argument("--targets", default="local,s3",
                         help="of local, s3, s3+0ms, s3+50ms")
    options.add_argument("--memory-limit", help="for Tidegate")
    options.add_argument("--tools", default="tidegate," + ",".join(PEERS))
    options = options.parse_args()

    data = options.data / f"sf{options.scale}"
    source = data / "lineitem.parquet"
    if not source.exists():
        generator = pathlib.Path(sys.executable).parent / "tpchgen-cli"
        subprocess.run(
            [generator, "parquet", "--scale-factor", options.scale, "--output-dir", data,
             "--tables", "lineitem"], check=True)
    expected = count_rows(source, "parquet")

    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as root:
        root = pathlib.Path(root)
        (root / BUCKET).mkdir()
        port = free_port()
        server = subprocess.Popen(
            [options.tidegate, "s3", "--root", root, "--listen", f"127.0.0.1:{port}",
             "--access-key-id", KEY, "--secret-access-key", SECRET], stdout=subprocess.DEVNULL)
        running = [server]
        try:
            wait_for(port)
            for place in options.targets.split(","):
                endpoint = f"http://127.0.0.1:{port}"
                if place.endswith("ms"):
                    delayed = free_port()
                    seconds = float(place.removeprefix("s3+").removesuffix("ms")) / 1000
                    running.append(subprocess.Popen(
                        [sys.executable, pathlib.Path(__file__).parent / "delay.py",
                         str(delayed), str(port), str(seconds)]))
                    wait_for(delayed)
                    endpoint = f"http://127.0.0.1:{delayed}"
                for kind in options.formats.split(","):
                    compare(options, kind, place, source, root, endpoint, expected)
        finally:
            for process in reversed(running):
                process.terminate()
                process.wait()


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


def compare(options, kind, place, source, root, endpoint, expected):
    tools = options.tools.split(",")
    limits = ["--memory-limit", options.memory_limit] if options.memory_limit else []
    taken = {tool: [] for tool in tools}
    written = {}
    for round_number in range(options.rounds):
        for tool in tools:
            name = f"{kind}-{tool}-{round_number}"
            folder = root / BUCKET / name if place != "local" else root / name
            target = f"s3://{BUCKET}/{name}" if place != "local" else str(folder)
            if tool == "tidegate":
                took = tidegate(
                    options.tidegate, source, target, kind, endpoint, options.threads, limits)
            else:
                command = [sys.executable, __file__, "peer", tool, source, target, kind, endpoint,
                           str(options.threads)]
                environment = {**os.environ, "POLARS_MAX_THREADS": str(options.threads)}
                took = json.loads(subprocess.run(
                    command, check=True, capture_output=True, env=environment).stdout)
            rows = count_rows(f"{folder}/**/*.{kind}", kind)
            if rows != expected:
                sys.exit(f"{tool} wrote {rows} rows instead of {expected}")
            written[tool] = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
            taken[tool].append(took)
            shutil.rmtree(folder)
    medians = {
        tool: {figure: statistics.median(t[figure] for t in runs) for figure in runs[0]}
        for tool, runs in taken.items()
    }
    peers = [tool for tool in tools if tool != "tidegate"]
    best = {f: min((medians[p][f] for p in peers), default=float("nan")) for f in ("wall", "cpu", "rss")}
    print(f"\n{kind} to {place}, scale {options.scale}, {options.threads} threads, "
          f"median of {options.rounds} (ratio to the best peer)")
    for tool in tools:
        m = medians[tool]
        print(f"  {tool:<11} wall {m['wall']:6.2f} s ({m['wall'] / best['wall']:4.2f})   "
              f"cpu {m['cpu']:6.2f} s ({m['cpu'] / best['cpu']:4.2f})   "
              f"peak {m['rss']:6.0f} MB ({m['rss'] / best['rss']:4.2f})   "
              f"written {written[tool] / 1e6:7.1f} MB")


if __name__ == "__main__":
    if sys.argv[1] == "peer":
        peer(*sys.argv[2:7], int(sys.argv[7]))
    elif sys.argv[1] == "count":
        count(*sys.argv[2:4])
    else:
        main()

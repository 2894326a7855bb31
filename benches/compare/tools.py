"""How each tool does each job, in a process of its own.

    tools.py TOOL JOB      prints the time and memory of the statement as JSON, without start-up and
                           imports; the tool may be "floor"
    tools.py check JOB     prints the number of rows written, their digest, and the number of
                           columns in the digest

A job is JSON: kind, source, target, endpoint, threads."""

import json
import mmap
import os
import pathlib
import resource
import sys
import time
import typing

KEY, SECRET, BUCKET = "bench-key", "bench-secret", "bench"
PEERS = ("duckdb", "polars", "chdb", "datafusion")

# How many bytes the floor compresses at once: about a page of 20,000 numbers.
PIECE = 128 << 10

# How many bytes the floor writes at once.
PART = 1 << 20

AGGREGATE = (
    "SELECT l_returnflag, l_linestatus, l_shipmode, count(*) AS rows, sum(l_quantity) AS quantity,"
    " max(l_shipdate) AS last FROM {} GROUP BY l_returnflag, l_linestatus, l_shipmode"
)
SORTED = "SELECT * FROM {} ORDER BY l_shipdate, l_orderkey, l_linenumber"


class Kind(typing.NamedTuple):
    """A kind of job."""
    format: str
    compression: str | None = None
    query: str | None = None
    """A query of the table, which is named {}."""
    by: str | None = None
    """The column of PARTITION BY."""
    moved: bool = False
    """Tidegate may move row groups without encoding them."""


KINDS = {
    "parquet snappy": Kind("parquet", "snappy"),
    "parquet zstd": Kind("parquet", "zstd"),
    "parquet moved": Kind("parquet", "snappy", moved=True),
    "csv": Kind("csv"),
    "json": Kind("json"),
    "parquet zstd by l_shipmode": Kind("parquet", "zstd", by="l_shipmode"),
    "aggregate": Kind("parquet", "snappy", AGGREGATE),
    "sorted": Kind("parquet", "snappy", SORTED),
    "parquet snappy by key": Kind("parquet", "snappy", by="key"),
}


def folder_of(source):
    """The folder of a pattern of files, and a single file as it is."""
    return source.removesuffix("*.parquet")


def duckdb_work(job):
    import duckdb

    db = duckdb.connect(config={"threads": job["threads"]})
    if job["target"].startswith("s3://"):
        import duckdb_extension_httpfs

        package = pathlib.Path(duckdb_extension_httpfs.__path__[0])
        db.execute(f"LOAD '{next(package.rglob('httpfs.duckdb_extension'))}'")
        db.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{KEY}', SECRET '{SECRET}', REGION 'us-east-1', "
            f"ENDPOINT '{job['endpoint'].removeprefix('http://')}', URL_STYLE 'path', USE_SSL false)"
        )
    kind = KINDS[job["kind"]]
    source = f"'{job['source']}'"
    options = {
        ("parquet", "snappy"): "FORMAT parquet, COMPRESSION snappy",
        ("parquet", "zstd"): "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3",
        ("csv", None): "FORMAT csv, HEADER false",
        ("json", None): "FORMAT json",
    }[kind.format, kind.compression]
    if kind.by:
        sql = f"COPY (FROM {source}) TO '{job['target']}' ({options}, PARTITION_BY ({kind.by}))"
    elif kind.query:
        sql = f"COPY ({kind.query.format(source)}) TO '{job['target']}/part.parquet' ({options})"
        if not job["target"].startswith("s3://"):
            pathlib.Path(job["target"]).mkdir()
    else:
        sql = f"COPY (FROM {source}) TO '{job['target']}' ({options}, PER_THREAD_OUTPUT true)"
    return lambda: db.execute(sql)


def polars_work(job):
    import polars as pl

    on_s3 = job["target"].startswith("s3://")
    storage = {
        "aws_access_key_id": KEY, "aws_secret_access_key": SECRET,
        "aws_endpoint_url": job["endpoint"], "aws_region": "us-east-1", "aws_allow_http": "true",
    } if on_s3 else None
    if not on_s3:
        pathlib.Path(job["target"]).mkdir()
    kind = KINDS[job["kind"]]
    frame = pl.scan_parquet(job["source"])
    file = f"{job['target']}/part.{kind.format}"
    if kind.query == AGGREGATE:
        frame = frame.group_by("l_returnflag", "l_linestatus", "l_shipmode").agg(
            pl.len().alias("rows"), pl.col("l_quantity").sum().alias("quantity"),
            pl.col("l_shipdate").max().alias("last"))
    elif kind.query == SORTED:
        frame = frame.sort("l_shipdate", "l_orderkey", "l_linenumber")
    if kind.by:
        file = pl.PartitionBy(job["target"], key=kind.by, include_key=False)
    level = 3 if kind.compression == "zstd" else None
    if kind.format == "csv":
        return lambda: frame.sink_csv(file, include_header=False, storage_options=storage)
    if kind.format == "json":
        return lambda: frame.sink_ndjson(file, storage_options=storage)
    return lambda: frame.sink_parquet(
        file, compression=kind.compression, compression_level=level, storage_options=storage, mkdir=True)


def chdb_work(job):
    from chdb import session

    db = session.Session()
    db.query(f"SET max_threads = {job['threads']}, max_insert_threads = {job['threads']}")
    db.query("SET output_format_parquet_string_as_string = 1, engine_file_truncate_on_insert = 1")
    kind = KINDS[job["kind"]]
    name = {"parquet": "Parquet", "csv": "CSV", "json": "JSONEachRow"}[kind.format]
    if kind.compression:
        db.query(f"SET output_format_parquet_compression_method = '{kind.compression}'")
    by = "{_partition_id}" if kind.by else "part"
    if job["target"].startswith("s3://"):
        path = job["target"].removeprefix("s3://")
        into = f"s3('{job['endpoint']}/{path}/{by}.{kind.format}', '{KEY}', '{SECRET}', '{name}')"
    else:
        pathlib.Path(job["target"]).mkdir()
        into = f"file('{job['target']}/{by}.{kind.format}', '{name}')"
    source = f"file('{job['source']}', 'Parquet')"
    select = (kind.query or "SELECT * FROM {}").format(source)
    partition = f" PARTITION BY {kind.by}" if kind.by else ""
    return lambda: db.query(f"INSERT INTO FUNCTION {into}{partition} {select}")


def datafusion_work(job):
    import datafusion
    from datafusion.object_store import AmazonS3

    config = datafusion.SessionConfig().with_target_partitions(job["threads"])
    context = datafusion.SessionContext(config)
    if job["target"].startswith("s3://"):
        context.register_object_store("s3://", AmazonS3(
            bucket_name=BUCKET, region="us-east-1", access_key_id=KEY,
            secret_access_key=SECRET, endpoint=job["endpoint"], allow_http=True))
    context.register_parquet("rows", folder_of(job["source"]))
    kind = KINDS[job["kind"]]
    source = f"({kind.query.format('rows')})" if kind.query else "rows"
    partition = f" PARTITIONED BY ({kind.by})" if kind.by else ""
    options = {
        "snappy": "'format.compression' 'snappy'", "zstd": "'format.compression' 'zstd(3)'",
        None: "'format.has_header' 'false'" if kind.format == "csv" else "",
    }[kind.compression]
    stored = f"STORED AS {kind.format.upper()}{partition}" + (f" OPTIONS ({options})" if options else "")
    sql = f"COPY {source} TO '{job['target']}/' {stored}"
    return lambda: context.sql(sql).collect()


def measure_floor(job):
    """Measures the codec on uncompressed bytes, in pieces as large as pages, and the writes of its
    output to the disk, past the page cache. Reading the bytes is not counted."""
    import cramjam
    import zstandard

    compress = {
        "snappy": cramjam.snappy.compress_raw,
        "zstd": zstandard.ZstdCompressor(level=3).compress,
        None: lambda piece: piece,
    }[KINDS[job["kind"]].compression]
    pathlib.Path(job["target"]).mkdir()
    taken = {"wall": 0, "cpu": 0}

    def count(work, *arguments):
        started, used = time.perf_counter(), time.process_time()
        result = work(*arguments)
        taken["wall"] += time.perf_counter() - started
        taken["cpu"] += time.process_time() - used
        return result

    part, waiting = mmap.mmap(-1, PART), bytearray()
    out = os.open(f"{job['target']}/floor", os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
    for file in pathlib.Path(job["plain"]).rglob("*.*"):
        with open(file, "rb", buffering=0) as plain:
            while piece := plain.read(PIECE):
                waiting += count(compress, piece)
                while len(waiting) >= PART:
                    part[:] = bytes(waiting[:PART])
                    del waiting[:PART]
                    count(os.write, out, part)
    os.close(out)
    return {**taken, "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def measure(work):
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    work()
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu, "rss": after.ru_maxrss / 1024}


def check(job):
    """Prints the number of rows, a digest that ignores their order and files, and its columns."""
    import duckdb

    kind = KINDS[job["kind"]]
    files, source = job["files"], f"'{job['source']}'"
    query = kind.query.format(source) if kind.query else f"SELECT * FROM {source}"
    # The digest must not depend on the types of a tool.
    columns = {row[0]: row[1] for row in duckdb.sql(f"DESCRIBE {query}").fetchall()}
    types = ", ".join(f"'{name}': '{type}'" for name, type in columns.items())
    if files == job["source"]:
        relation = f"({query})"
    elif kind.format == "csv":
        relation = f"read_csv('{files}', header=false, columns={{{types}}})"
    elif kind.format == "json":
        relation = f"read_json('{files}', format='newline_delimited', columns={{{types}}})"
    elif kind.by:
        # Some tools name folders by the column, others name files by its value.
        relation = f"read_parquet('{files}', hive_partitioning=true, union_by_name=true)"
    else:
        relation = f"read_parquet('{files}')"
    found = [row[0] for row in duckdb.sql(f"DESCRIBE SELECT * FROM {relation}").fetchall()]
    casts = [f'CAST("{name}" AS {type})' for name, type in columns.items() if name in found]
    digest = f"bit_xor(hash({', '.join(casts)}))"
    print(*duckdb.sql(f"SELECT count(*), {digest}, {len(casts)} FROM {relation}").fetchone())


if __name__ == "__main__":
    job = json.loads(sys.argv[2])
    os.environ["POLARS_MAX_THREADS"] = str(job["threads"])
    if sys.argv[1] == "check":
        check(job)
    elif sys.argv[1] == "floor":
        print(json.dumps(measure_floor(job)))
    else:
        print(json.dumps(measure(globals()[f"{sys.argv[1]}_work"](job))))

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

# The kinds of jobs: format, compression, and query.
KINDS = {
    "parquet snappy": ("parquet", "snappy", None),
    "parquet zstd": ("parquet", "zstd", None),
    "csv": ("csv", None, None),
    "parquet zstd by l_shipmode": ("parquet", "zstd", "partitioned"),
    "aggregate": ("parquet", "snappy", AGGREGATE),
    "sorted": ("parquet", "snappy", SORTED),
}

# The types of lineitem, for reading CSV and for a digest that does not depend on a tool's types.
COLUMNS = {
    "l_orderkey": "BIGINT", "l_partkey": "BIGINT", "l_suppkey": "BIGINT", "l_linenumber": "INTEGER",
    "l_quantity": "DECIMAL(15,2)", "l_extendedprice": "DECIMAL(15,2)", "l_discount": "DECIMAL(15,2)",
    "l_tax": "DECIMAL(15,2)", "l_returnflag": "VARCHAR", "l_linestatus": "VARCHAR",
    "l_shipdate": "DATE", "l_commitdate": "DATE", "l_receiptdate": "DATE",
    "l_shipinstruct": "VARCHAR", "l_shipmode": "VARCHAR", "l_comment": "VARCHAR",
}
AGGREGATED = {
    "l_returnflag": "VARCHAR", "l_linestatus": "VARCHAR", "l_shipmode": "VARCHAR", "rows": "BIGINT",
    "quantity": "DECIMAL(38,2)", "last": "DATE",
}


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
    form, compression, query = KINDS[job["kind"]]
    source = f"'{job['source']}'"
    options = {
        ("parquet", "snappy"): "FORMAT parquet, COMPRESSION snappy",
        ("parquet", "zstd"): "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3",
        ("csv", None): "FORMAT csv, HEADER false",
    }[form, compression]
    if query == "partitioned":
        sql = f"COPY (FROM {source}) TO '{job['target']}' ({options}, PARTITION_BY (l_shipmode))"
    elif query:
        sql = f"COPY ({query.format(source)}) TO '{job['target']}/part.parquet' ({options})"
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
    form, compression, query = KINDS[job["kind"]]
    frame = pl.scan_parquet(job["source"])
    file = f"{job['target']}/part.{form}"
    if query == AGGREGATE:
        frame = frame.group_by("l_returnflag", "l_linestatus", "l_shipmode").agg(
            pl.len().alias("rows"), pl.col("l_quantity").sum().alias("quantity"),
            pl.col("l_shipdate").max().alias("last"))
    elif query == SORTED:
        frame = frame.sort("l_shipdate", "l_orderkey", "l_linenumber")
    elif query == "partitioned":
        file = pl.PartitionBy(job["target"], key="l_shipmode", include_key=False)
    level = 3 if compression == "zstd" else None
    if form == "csv":
        return lambda: frame.sink_csv(file, include_header=False, storage_options=storage)
    return lambda: frame.sink_parquet(
        file, compression=compression, compression_level=level, storage_options=storage, mkdir=True)


def chdb_work(job):
    from chdb import session

    db = session.Session()
    db.query(f"SET max_threads = {job['threads']}, max_insert_threads = {job['threads']}")
    db.query("SET output_format_parquet_string_as_string = 1, engine_file_truncate_on_insert = 1")
    form, compression, query = KINDS[job["kind"]]
    name = {"parquet": "Parquet", "csv": "CSV"}[form]
    if compression:
        db.query(f"SET output_format_parquet_compression_method = '{compression}'")
    by = "{_partition_id}" if query == "partitioned" else "part"
    if job["target"].startswith("s3://"):
        path = job["target"].removeprefix("s3://")
        into = f"s3('{job['endpoint']}/{path}/{by}.{form}', '{KEY}', '{SECRET}', '{name}')"
    else:
        pathlib.Path(job["target"]).mkdir()
        into = f"file('{job['target']}/{by}.{form}', '{name}')"
    source = f"file('{job['source']}', 'Parquet')"
    select = query.format(source) if query and query != "partitioned" else f"SELECT * FROM {source}"
    partition = " PARTITION BY l_shipmode" if query == "partitioned" else ""
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
    context.register_parquet("lineitem", job["source"])
    form, compression, query = KINDS[job["kind"]]
    source = f"({query.format('lineitem')})" if query and query != "partitioned" else "lineitem"
    partition = " PARTITIONED BY (l_shipmode)" if query == "partitioned" else ""
    options = {
        "snappy": "'format.compression' 'snappy'", "zstd": "'format.compression' 'zstd(3)'",
        None: "'format.has_header' 'false'",
    }[compression]
    sql = f"COPY {source} TO '{job['target']}/' STORED AS {form.upper()}{partition} OPTIONS ({options})"
    return lambda: context.sql(sql).collect()


def measure_floor(job):
    """Measures the codec on uncompressed bytes, in pieces as large as pages, and the writes of its
    output to the disk, past the page cache. Reading the bytes is not counted."""
    import cramjam
    import zstandard

    _, compression, _ = KINDS[job["kind"]]
    compress = {
        "snappy": cramjam.snappy.compress_raw,
        "zstd": zstandard.ZstdCompressor(level=3).compress,
        None: lambda piece: piece,
    }[compression]
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

    form, _, query = KINDS[job["kind"]]
    columns = AGGREGATED if query == AGGREGATE else COLUMNS
    files = f"{job['files']}"
    if form == "csv":
        types = ", ".join(f"'{name}': '{type}'" for name, type in columns.items())
        relation = f"read_csv('{files}', header=false, columns={{{types}}})"
    elif query == "partitioned":
        # Some tools name folders by the column, others name files by its value.
        relation = f"read_parquet('{files}', hive_partitioning=true, union_by_name=true)"
    else:
        relation = f"read_parquet('{files}')"
    found = [row[0] for row in duckdb.sql(f"DESCRIBE SELECT * FROM {relation}").fetchall()]
    casts = [f"CAST({name} AS {type})" for name, type in columns.items() if name in found]
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

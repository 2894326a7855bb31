"""The tables that the tools export.

Invariant: the rows of a table depend only on its name and the scale, so every run on every machine
exports the same values.

TPC-H's lineitem comes from tpchgen-cli. The other tables have shapes that lineitem lacks. DuckDB
generates them from hashes of the row number, and writes them in row groups of its default size."""

import pathlib
import shutil
import subprocess
import sys


def draw(salt, below):
    """SQL for a whole number from 0 to `below` - 1, drawn for each row."""
    return f"(hash(i, {salt}) % {below})::BIGINT"


def unit(salt):
    """SQL for a double from 0 to 1."""
    return f"{draw(salt, 1 << 53)} / {1 << 53}.0::DOUBLE"


def null_in(salt, share, value):
    """SQL for a value that is NULL in `share` percent of the rows."""
    return f"CASE WHEN {draw(salt, 100)} >= {share} THEN {value} END"


def choose(salt, values):
    listed = ", ".join(f"'{value}'" for value in values)
    return f"[{listed}][1 + {draw(salt, len(values))}]"


def wide():
    """100 columns: numbers with few values, doubles with NULLs, URLs, booleans and dates."""
    for n in range(20):
        yield f"c{n}", draw(n, (5, 10, 100, 1000)[n % 4])
        yield f"d{n}", null_in(f"{n} + 100", 30, f"{unit(n + 200)} * 1000")
        item, source = draw(n + 300, 1 << 40), draw(n + 400, 97)
        yield f"u{n}", f"printf('https://example.com/shop/item/%x?ref=%d', {item}, {source})"
        yield f"b{n}", f"{draw(n + 500, 2)} = 0"
        yield f"t{n}", f"DATE '2011-01-01' + {draw(n + 600, 5000)}::INTEGER"


def taxi():
    """Rides: timestamps, doubles with two decimals, and flags."""
    started = f"TIMESTAMP '2024-01-01' + to_seconds(i * 7 // 10 + {draw(1, 600)})"
    yield "vendor", f"{draw(2, 2)}::INTEGER"
    yield "picked_up", started
    yield "dropped_off", f"{started} + to_seconds(60 + {draw(3, 3000)})"
    yield "passengers", null_in(4, 3, draw(5, 6))
    yield "miles", f"round(pow({unit(6)}, 3) * 40, 2)"
    yield "rate", null_in(4, 3, f"(1 + {draw(7, 6)})::DOUBLE")
    yield "store_and_forward", choose(8, "NNNNNNNNNY")
    yield "from_zone", draw(9, 265)
    yield "to_zone", draw(10, 265)
    yield "fare", f"round(3 + pow({unit(11)}, 2) * 90, 2)"
    yield "tip", f"round({unit(12)} * {unit(13)} * 20, 2)"
    yield "tolls", f"CASE WHEN {draw(14, 12)} = 0 THEN 6.94 ELSE 0 END::DOUBLE"
    yield "total", f"round(6 + pow({unit(11)}, 2) * 110, 2)"
    yield "payment", f"(1 + {draw(15, 4)})::INTEGER"


def logs():
    """Requests: times, ids, paths and JSON payloads."""
    yield "at", f"TIMESTAMP '2025-03-01' + to_microseconds(i * 1900 + {draw(1, 1900)})"
    yield "id", f"format('{{:08x}}-{{:04x}}-4{{:03x}}-a{{:03x}}-{{:012x}}', {draw(2, 1 << 32)}, " \
        f"{draw(3, 1 << 16)}, {draw(4, 1 << 12)}, {draw(5, 1 << 12)}, {draw(6, 1 << 48)})"
    yield "level", choose(7, ["INFO"] * 8 + ["WARN", "ERROR"])
    yield "host", f"'web-' || {draw(8, 40)}"
    path = choose(9, ("users", "orders", "items", "carts"))
    yield "path", f"'/api/v2/' || {path} || '/' || {draw(10, 3_000_000)} || '/detail'"
    yield "status", f"[200, 200, 200, 301, 404, 500][1 + {draw(11, 6)}]::SMALLINT"
    yield "took", null_in(12, 5, f"{unit(13)} * 900")
    yield "payload", "printf('{\"session\":\"%x\",\"user\":%d,\"cart\":[%d,%d],\"agent\":" \
        f"\"Mozilla/5.0 (X11; Linux x86_64)\",\"ms\":%d}}', {draw(14, 1 << 50)}, " \
        f"{draw(15, 900_000)}, {draw(16, 5000)}, {draw(17, 5000)}, {draw(18, 4000)})"


def doubles():
    """20 columns of random doubles, half of them NULL."""
    for n in range(20):
        yield f"d{n}", null_in(n, 50, f"{unit(n + 100)} * {10 ** (n % 7)}")


def nested():
    """Lists, structs and maps."""
    yield "id", "i"
    tag = f"'tag' || (hash(i, x, 1) % 300)"
    yield "tags", null_in(2, 5, f"[{tag} for x in range({draw(3, 6)})]")
    yield "scores", f"[(hash(i, x, 4) % 100000) / 100.0::DOUBLE for x in range({draw(5, 8)})]"
    yield "place", f"{{'city': {choose(6, ('Oslo', 'Lima', 'Pune', 'Bern'))}, " \
        f"'zip': {null_in(7, 10, draw(8, 99999))}, 'at': {{'x': {unit(9)}, 'y': {unit(10)}}}}}"
    keys = f"['key' || x for x in range({draw(11, 4)})]"
    values = f"[(hash(i, x, 12) % 1000)::BIGINT for x in range({draw(11, 4)})]"
    yield "labels", f"MAP({keys}, {values})"
    yield "lines", f"[{{'sku': 'sku' || (hash(i, x, 13) % 20000), 'count': (hash(i, x, 14) % 9)::INTEGER}}" \
        f" for x in range({draw(15, 4)})]"


def keys():
    """Rows of 100,000 keys."""
    yield "key", draw(1, 100_000)
    yield "id", "i"
    yield "amount", f"round({unit(2)} * 500, 2)"
    yield "note", f"'note ' || {draw(3, 50_000)}"


# The generated tables, and their number of rows at scale 1.
GENERATED = {
    "wide": (wide, 500_000), "taxi": (taxi, 3_000_000), "logs": (logs, 2_000_000),
    "doubles": (doubles, 2_000_000), "nested": (nested, 1_000_000), "keys": (keys, 2_000_000),
}

# The rows of a file of `small files`, which has the rows of lineitem: at scale 1, 977 files.
SMALL_FILE = 6144


def make_lineitem(folder, scale):
    source = folder / f"sf{scale}" / "lineitem.parquet"
    if not source.exists():
        generator = pathlib.Path(sys.executable).parent / "tpchgen-cli"
        subprocess.run(
            [generator, "parquet", "--scale-factor", scale, "--output-dir", source.parent,
             "--tables", "lineitem"], check=True)
    return source


def write(select, into, options=""):
    """Writes a query's rows in a process of its own, because a child's peak memory counts from its
    parent's size."""
    sql = f"SET enable_progress_bar = false; SET threads = 1; COPY ({select}) TO '{into}' (FORMAT parquet{options})"
    run = f"import duckdb; duckdb.sql({sql!r})"
    subprocess.run([sys.executable, "-c", run], check=True)


def make_data(table, folder, scale):
    """The file of a table, or a pattern of its files. Writes them on first use."""
    if table == "lineitem":
        return make_lineitem(folder, scale)
    into = folder / f"sf{scale}" / table
    if not into.exists():
        unfinished = into.with_name(f"{table}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        if table == "small files":
            files = f", ROW_GROUP_SIZE {SMALL_FILE}, ROW_GROUPS_PER_FILE 1"
            write(f"FROM '{make_lineitem(folder, scale)}'", unfinished, files)
        else:
            columns, rows = GENERATED[table]
            listed = ", ".join(f'{sql} AS "{name}"' for name, sql in columns())
            source = f"range({int(rows * float(scale))}) AS rows(i)"
            unfinished.mkdir(parents=True)
            write(f"SELECT {listed} FROM {source}", unfinished / "0.parquet")
        unfinished.rename(into)
    return into / "*.parquet"

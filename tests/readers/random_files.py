"""Random Parquet files of other programs, and what a reader must find in them.

write FOLDER FIRST END  writes a file for each seed, and FOLDER/queries.tsv: file, predicate, count.
compare FOLDER OUTPUT   compares OUTPUT/<name> with FOLDER/<name>; prints a line for each that differs.
"""

import collections
import datetime
import decimal
import math
import pathlib
import random
import sys

import duckdb
import polars
import pyarrow
import pyarrow.parquet

NAN = float("nan")
TEXTS = ["", "a", "A", "é", "☃", "a b", "x" * 300, "0", "NULL", "'"]
EPOCH = datetime.date(1970, 1, 1)


def integers(bits, signed):
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return [least, most, 0, 1, 7, least + 1, most - 1]


# Types with values that are easy to get wrong.
TYPES = {
    **{
        f"{sign}int{bits}": (getattr(pyarrow, f"{sign}int{bits}")(), integers(bits, not sign))
        for bits in (8, 16, 32, 64)
        for sign in ("", "u")
    },
    "float32": (pyarrow.float32(), [NAN, 0.0, -0.0, 1.5, math.inf, -math.inf]),
    "float64": (pyarrow.float64(), [NAN, 0.0, -0.0, 1e300, 5e-324, math.inf]),
    "bool": (pyarrow.bool_(), [True, False]),
    "date": (pyarrow.date32(), [EPOCH, datetime.date(1, 1, 1), datetime.date(9999, 12, 31)]),
    "micros": (
        pyarrow.timestamp("us"),
        [datetime.datetime(1969, 12, 31, 23, 59, 59, 999999), datetime.datetime(2300, 1, 1)],
    ),
    "instant": (
        pyarrow.timestamp("ms", "UTC"),
        [datetime.datetime(2024, 2, 29, 1, 2, 3, 4000, datetime.timezone.utc)],
    ),
    "time": (pyarrow.time64("us"), [datetime.time(0, 0), datetime.time(23, 59, 59, 999999)]),
    "decimal9": (pyarrow.decimal128(9, 2), [decimal.Decimal("-9999999.99"), decimal.Decimal("0.01")]),
    "decimal38": (pyarrow.decimal128(38, 10), [decimal.Decimal("1234567890123456789.0123456789")]),
    "text": (pyarrow.string(), TEXTS),
    "large": (pyarrow.large_string(), TEXTS),
    "bytes": (pyarrow.binary(), [b"", b"\x00", b"\xff\x5c"]),
    "fixed": (pyarrow.binary(4), [b"abcd", b"\x00\x00\x00\x00"]),
    "words": (pyarrow.dictionary(pyarrow.int32(), pyarrow.string()), TEXTS),
}
NESTED = {
    "list": (pyarrow.list_(pyarrow.int64()), [[], [1, None], [2**62]]),
    "struct": (
        pyarrow.struct([("x", pyarrow.int32()), ("y", pyarrow.string())]),
        [{"x": 1, "y": None}, {"x": None, "y": ""}],
    ),
    "lists": (pyarrow.list_(pyarrow.list_(pyarrow.string())), [[[]], [None, ["a"]]]),
}
# How literals of these columns are written in SQL; other columns are only tested for NULL.
LITERALS = {
    **{f"{sign}int{bits}": str for bits in (8, 16, 32, 64) for sign in ("", "u")},
    "text": lambda value: "'" + value.replace("'", "''") + "'",
    "large": lambda value: "'" + value.replace("'", "''") + "'",
    "words": lambda value: "'" + value.replace("'", "''") + "'",
    "date": lambda value: f"DATE '{value.isoformat()}'",
    "micros": lambda value: f"TIMESTAMP '{value.isoformat(' ')}'",
    "bool": lambda value: str(value).lower(),
    "decimal9": str,
}
OPERATORS = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
}


def column(chance, name, rows):
    data_type, values = {**TYPES, **NESTED}[name]
    shape = chance.choice(["mixed", "sorted", "constant", "nulls", "runs"])
    if shape == "nulls":
        picked = [None] * rows
    elif shape == "constant":
        picked = [chance.choice(values)] * rows
    else:
        share = chance.choice([0, 0.01, 0.5])
        picked = [None if chance.random() < share else chance.choice(values) for _ in range(rows)]
        if shape == "runs":
            picked = [picked[row // 100 * 100] for row in range(rows)]
        if shape == "sorted" and name in LITERALS:
            picked.sort(key=lambda value: (value is None, value if value is not None else 0))
    return pyarrow.array(picked, data_type), picked


def encodings(chance, names):
    of_type = {
        "int32": ["PLAIN", "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"],
        "int64": ["PLAIN", "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"],
        "float64": ["PLAIN", "BYTE_STREAM_SPLIT"],
        "text": ["PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"],
        "bytes": ["PLAIN", "DELTA_BYTE_ARRAY"],
        "bool": ["PLAIN", "RLE"],
    }
    return {name: chance.choice(of_type.get(name, ["PLAIN"])) for name in names}


def write_with_pyarrow(chance, path, table, names):
    options = {
        "compression": chance.choice(["none", "snappy", "gzip", "zstd", "brotli", "lz4"]),
        "data_page_version": chance.choice(["1.0", "2.0"]),
        "write_statistics": chance.random() < 0.8,
        "write_page_index": chance.random() < 0.5,
        "row_group_size": chance.choice([1, 100, 1000, 100_000]),
        "data_page_size": chance.choice([64, 1024, 1 << 20]),
        "version": chance.choice(["1.0", "2.4", "2.6"]),
        "store_schema": chance.random() < 0.7,
        "use_compliant_nested_type": chance.random() < 0.5,
    }
    plain = [name for name in names if name not in NESTED and name != "words"]
    if chance.random() < 0.4:
        options["use_dictionary"] = [name for name in names if name not in plain]
        options["column_encoding"] = encodings(chance, plain)
        options["version"] = "2.6"
    pyarrow.parquet.write_table(table, path, **options)


def write_with_duckdb(chance, path, table):
    codec = chance.choice(["uncompressed", "snappy", "gzip", "zstd", "lz4_raw"])
    version = chance.choice(["V1", "V2"])
    duckdb.sql(
        f"COPY (SELECT * FROM \"table\") TO '{path}' (FORMAT parquet, COMPRESSION {codec}, PARQUET_VERSION {version},"
        f" ROW_GROUP_SIZE {chance.choice([2048, 10_000])})"
    )


def write_with_polars(chance, path, table):
    polars.from_arrow(table).write_parquet(
        path,
        compression=chance.choice(["uncompressed", "snappy", "gzip", "zstd", "lz4"]),
        statistics=chance.choice([True, False, "full"]),
        row_group_size=chance.choice([100, 10_000]),
        data_page_size=chance.choice([256, 1 << 20]),
    )


def write(folder, seed, queries):
    chance = random.Random(seed)
    rows = chance.choice([0, 1, 99, 1000, 5000])
    names = chance.sample(sorted(TYPES), chance.randint(1, 6))
    writer = chance.choice(["pyarrow", "pyarrow", "duckdb", "polars"])
    if writer == "pyarrow":
        names += chance.sample(sorted(NESTED), chance.randint(0, 2))
    arrays, values = {}, {}
    for name in names:
        arrays[name], values[name] = column(chance, name, rows)
    table = pyarrow.table(arrays)
    name = f"{seed}-{writer}.parquet"
    path = folder / name
    if writer == "duckdb":
        write_with_duckdb(chance, path, table)
    elif writer == "polars":
        write_with_polars(chance, path, table)
    else:
        write_with_pyarrow(chance, path, table, names)
    queries.append((name, "true", rows))
    for column_name in names:
        found = values[column_name]
        queries.append((name, f'"{column_name}" IS NULL', sum(value is None for value in found)))
        if column_name in LITERALS:
            value = chance.choice(TYPES[column_name][1])
            symbol, holds = chance.choice(sorted(OPERATORS.items()))
            count = sum(other is not None and holds(other, value) for other in found)
            queries.append((name, f'"{column_name}" {symbol} {LITERALS[column_name](value)}', count))


def plain(value):
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else (value, math.copysign(1, value))
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def differs(source, written):
    before, after = pyarrow.parquet.read_table(source), pyarrow.parquet.read_table(written)
    if before.num_rows != after.num_rows or before.column_names != after.column_names:
        return f"{before.num_rows} rows, {before.column_names}, not {after.num_rows}, {after.column_names}"
    # Row groups are read side by side, so rows may come in another order.
    lost = rows_of(before) - rows_of(after)
    added = rows_of(after) - rows_of(before)
    if lost:
        return f"{next(iter(lost))} became {next(iter(added))}"
    return None


def rows_of(table):
    columns = [map(plain, table[name].to_pylist()) for name in table.column_names]
    return collections.Counter(map(repr, zip(*columns)))


if sys.argv[1] == "write":
    target = pathlib.Path(sys.argv[2])
    counted = []
    for number in range(int(sys.argv[3]), int(sys.argv[4])):
        write(target, number, counted)
    lines = ("\t".join(map(str, query)) for query in counted)
    (target / "queries.tsv").write_text("\n".join(lines) + "\n")
else:
    for file in sorted(pathlib.Path(sys.argv[2]).glob("*.parquet")):
        difference = differs(file, pathlib.Path(sys.argv[3]) / file.name)
        if difference:
            print(f"{file.name}: {difference}")

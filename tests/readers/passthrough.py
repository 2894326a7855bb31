"""Random Parquet files with large row groups, and exports of them.

write FOLDER FIRST END  writes FOLDER/<seed>/*.parquet for each seed, and FOLDER/exports.tsv: seed, query
                        (with % for the files), options.
compare FOLDER          compares FOLDER/<seed>/moved with FOLDER/<seed>/encoded; prints a line for each
                        that differs.
"""

import datetime
import decimal
import math
import pathlib
import random
import sys

import duckdb
import polars
import pyarrow
import pyarrow.dataset
import pyarrow.parquet

# A row group with fewer rows is not moved.
ROWS = 100_000
NAN = float("nan")
EPOCH = datetime.datetime(1970, 1, 1)

# Values of each column, by the number of a row or at random.
COLUMNS = {
    "id": (pyarrow.int64(), lambda chance, row: row),
    "small": (pyarrow.int16(), lambda chance, row: row % 300),
    "day": (pyarrow.date32(), lambda chance, row: EPOCH.date() + datetime.timedelta(row // 1000)),
    "moment": (pyarrow.timestamp("us"), lambda chance, row: EPOCH + datetime.timedelta(seconds=row)),
    "instant": (
        pyarrow.timestamp("ms", "UTC"),
        lambda chance, row: (EPOCH + datetime.timedelta(seconds=row)).replace(tzinfo=datetime.timezone.utc),
    ),
    "text": (pyarrow.string(), lambda chance, row: f"{row // 7:08}"),
    "word": (pyarrow.string(), lambda chance, row: chance.choice(["", "a", "é", "x" * 100])),
    "real": (pyarrow.float64(), lambda chance, row: chance.choice([NAN, -0.0, 0.0, 1.5, math.inf, row / 7])),
    "amount": (pyarrow.decimal128(12, 2), lambda chance, row: decimal.Decimal(row).scaleb(-2)),
    "wide": (pyarrow.decimal128(30, 4), lambda chance, row: decimal.Decimal(row).scaleb(-4)),
    "span": (pyarrow.duration("us"), lambda chance, row: datetime.timedelta(milliseconds=row)),
    "flag": (pyarrow.bool_(), lambda chance, row: row % 3 == 0),
    "raw": (pyarrow.binary(), lambda chance, row: bytes([row % 256])),
    "list": (pyarrow.list_(pyarrow.int32()), lambda chance, row: [row] * (row % 3)),
    "pair": (
        pyarrow.struct([("a", pyarrow.int32()), ("b", pyarrow.string())]),
        lambda chance, row: {"a": row, "b": "b" if row % 2 else None},
    ),
}
# How a value of these columns is written in SQL, to filter by.
LITERALS = {
    "id": str,
    "small": str,
    "day": lambda day: f"DATE '{day}'",
    "moment": lambda moment: f"TIMESTAMP '{moment}'",
    "text": lambda text: f"'{text}'",
    "amount": str,
    "real": lambda real: "1.5",
}


def table(chance, names, first, rows, nulls):
    columns = {}
    for name in names:
        data_type, value = COLUMNS[name]
        if name == "span":
            data_type = pyarrow.duration(chance.choice(["ms", "us", "ns"]))
        share = 0 if name == "id" else nulls[name]
        values = [None if share and chance.random() < share else value(chance, row) for row in range(first, first + rows)]
        columns[name] = pyarrow.array(values, data_type)
    return pyarrow.table(columns)


def write_file(chance, writer, path, rows, codec):
    group = chance.choice([ROWS, ROWS, ROWS + 50_000, 20_000])
    if writer == "duckdb":
        codec = {"none": "uncompressed"}.get(codec, codec)
        duckdb.sql(f"COPY rows TO '{path}' (FORMAT parquet, COMPRESSION {codec}, ROW_GROUP_SIZE {-(-group // 2048) * 2048})")
    elif writer == "polars":
        codec = {"none": "uncompressed"}.get(codec, codec)
        polars.from_arrow(rows).write_parquet(path, compression=codec, row_group_size=group)
    else:
        pyarrow.parquet.write_table(
            rows,
            path,
            compression=codec,
            row_group_size=group,
            data_page_version=chance.choice(["1.0", "2.0"]),
            write_statistics=chance.random() < 0.9,
            write_page_index=chance.random() < 0.5,
            store_schema=chance.random() < 0.7 or "span" in rows.column_names,
            data_page_size=chance.choice([4096, 1 << 20]),
            **(
                {"bloom_filter_options": {"id": {"ndv": 1000}}}
                if chance.random() < 0.3 and "bloom_filter_options" in pyarrow.parquet.write_table.__doc__
                else {}
            ),
            store_decimal_as_integer=chance.random() < 0.5,
        )


def write(folder, seed):
    chance = random.Random(seed)
    names = ["id"] + chance.sample([name for name in COLUMNS if name != "id"], chance.randint(1, 4))
    writer = chance.choice(["pyarrow", "pyarrow", "duckdb", "polars"])
    nulls = {name: chance.choice([0, 0, 0.01]) for name in names}
    codec = chance.choice(["none", "snappy", "zstd", "gzip"])
    (folder / str(seed)).mkdir()
    first = 0
    for number in range(chance.randint(1, 3)):
        count = chance.choice([ROWS, 2 * ROWS + 7, 3 * ROWS])
        of_file = writer if chance.random() < 0.8 else "pyarrow"
        of_file = "pyarrow" if {"list", "pair", "span"} & set(names) else of_file
        codec_of_file = codec if chance.random() < 0.8 else "snappy"
        rows = table(chance, names, first, count, nulls)
        write_file(chance, of_file, folder / str(seed) / f"{number}.parquet", rows, codec_of_file)
        first += count
    chosen = chance.sample(names, chance.randint(1, len(names)))
    chosen = ["id"] + [name for name in chosen if name != "id"]
    chance.shuffle(chosen)
    columns = "*" if chance.random() < 0.4 else ", ".join(chosen)
    query = f"SELECT {columns} FROM '%'"
    filtered = [name for name in names if name in LITERALS]
    if chance.random() < 0.6:
        tests = []
        for _ in range(chance.randint(1, 2)):
            name = chance.choice(filtered)
            value = LITERALS[name](COLUMNS[name][1](chance, chance.choice([0, 1, ROWS - 1, ROWS, 150_000, first, first // 2])))
            test = f"{name} {chance.choice(['<', '<=', '>', '>=', '=', '<>'])} {value}"
            extra = chance.random()
            if extra < 0.15:
                test = f"NOT ({test})"
            elif extra < 0.3:
                test = f"({test} OR {name} IS NULL)"
            elif extra < 0.4:
                test = f"{name} IS NOT NULL"
            tests.append(test)
        query += " WHERE " + chance.choice([" AND ", " OR "]).join(tests)
    options = chance.choice(["", "", "", f", COMPRESSION = '{codec}'", ", COMPRESSION = 'zstd'", ", MAX FILE SIZE = '1MB'"])
    return seed, query, options


def plain(value):
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else (value, math.copysign(1, value))
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def rows_of(folder):
    files = sorted(map(str, folder.glob("*.parquet")))
    read = pyarrow.dataset.dataset(files).to_table().sort_by("id")
    return read.schema, [map(plain, read[name].to_pylist()) for name in read.column_names]


def differs(moved, encoded):
    (schema, columns), (expected_schema, expected) = rows_of(moved), rows_of(encoded)
    if not schema.equals(expected_schema):
        return f"{schema} is not {expected_schema}"
    for name, column, expected_column in zip(schema.names, columns, expected):
        column, expected_column = list(column), list(expected_column)
        if len(column) != len(expected_column):
            return f"{len(column)} rows, not {len(expected_column)}"
        for value, expected_value in zip(column, expected_column):
            if value != expected_value:
                return f"{name}: {value!r}, not {expected_value!r}"
    return None


if sys.argv[1] == "write":
    target = pathlib.Path(sys.argv[2])
    exports = [write(target, seed) for seed in range(int(sys.argv[3]), int(sys.argv[4]))]
    lines = ("\t".join(map(str, export)) for export in exports)
    (target / "exports.tsv").write_text("\n".join(lines) + "\n")
else:
    for export in sorted(pathlib.Path(sys.argv[2]).iterdir()):
        difference = differs(export / "moved", export / "encoded")
        if difference:
            print(f"{export.name}: {difference}")

"""Reads exports of every type with DuckDB, Polars and pyarrow and compares values.

Argument: a JSON file that lists the exports. Each has a type number, a format, a folder, and the
values as Python expressions. An export's first row is NULL and is not listed. Beside the JSON file,
<number>.csv holds the texts expected in CSV exports.

Prints a line for each export and reader: number, format, reader and verdict. The verdict is
"ok: <the reader's type>", or says how the values differ.
"""

import csv
import json
import pathlib
import sys
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal

import duckdb
import polars
import pyarrow.csv
import pyarrow.dataset
import pyarrow.json
import pyarrow.parquet

cases_file = pathlib.Path(sys.argv[1])
duckdb.sql("SET TimeZone = 'UTC'")


def only_file(folder):
    [file] = [path for path in pathlib.Path(folder).iterdir() if path.is_file()]
    return str(file)


def with_duckdb(file, form):
    source = {
        "parquet": f"read_parquet('{file}')",
        "csv": f"read_csv('{file}', header = true, all_varchar = true, allow_quoted_nulls = false)",
        "json": f"read_json('{file}')",
    }[form]
    relation = duckdb.sql(f"SELECT id, v FROM {source}")
    rows = sorted(relation.fetchall(), key=lambda row: int(row[0]))
    return [row[1] for row in rows], str(relation.types[1])


def with_polars(file, form):
    frame = {
        "parquet": polars.read_parquet,
        "csv": lambda file: polars.read_csv(
            file, infer_schema=False
        ),
        "json": polars.read_ndjson,
    }[form](file)
    frame = frame.sort(polars.col("id").cast(polars.Int64))
    return frame["v"].to_list(), str(frame["v"].dtype)


def with_pyarrow(file, form):
    if form == "parquet":
        table = pyarrow.parquet.read_table(file)
    elif form == "csv":
        table = pyarrow.csv.read_csv(
            file,
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={"id": pyarrow.int64(), "v": pyarrow.string()},
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=[""],
            ),
        )
    else:
        stream = pyarrow.input_stream(file, compression="detect")
        table = pyarrow.json.read_json(stream)
    table = table.sort_by("id")
    return table["v"].to_pylist(), str(table["v"].type)


def same(found, expected):
    """Whether a reader's value equals the expected value. Readers use different Python types."""
    if expected is None or found is None:
        return found is expected
    if isinstance(expected, dict):
        if isinstance(found, list):  # A map as a list of pairs, or of records.
            pairs = [tuple(pair.values()) if isinstance(pair, dict) else pair for pair in found]
            found = dict(pairs)
        if isinstance(found, dict) and set(found) == {"key", "value"} and set(expected) != set(found):
            found = dict(zip(found["key"], found["value"]))
        return set(found) == set(expected) and all(same(found[k], expected[k]) for k in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, Decimal) and isinstance(found, (int, Decimal)):
        return expected == found
    if isinstance(expected, datetime) and isinstance(found, datetime):
        if expected.tzinfo and not found.tzinfo:
            found = found.replace(tzinfo=timezone.utc)
        return expected == found
    if isinstance(expected, date) and isinstance(found, datetime):
        return found == datetime(expected.year, expected.month, expected.day)
    if isinstance(found, bytes) and isinstance(expected, bytes):
        return found == expected
    return type(found) is type(expected) and found == expected


def as_json(expected):
    """Replaces bytes with the hex text that a JSON export holds."""
    if isinstance(expected, bytes):
        return expected.hex()
    if isinstance(expected, list):
        return [as_json(value) for value in expected]
    if isinstance(expected, dict):
        return {key: as_json(value) for key, value in expected.items()}
    return expected


def exact_json(file):
    """The values as Python's own parser reads them, without rounding."""
    with pyarrow.input_stream(file, compression="detect") as stream:
        lines = stream.read().decode().splitlines()
    rows = [json.loads(line, parse_float=Decimal) for line in lines]
    return [row["v"] for row in sorted(rows, key=lambda row: row["id"])]


def same_in_json(found, expected):
    if isinstance(expected, float):
        return float(found) == expected
    if isinstance(expected, timedelta):
        return found == "25:01:01.5"
    if isinstance(expected, (date, time)):
        parse = {date: date, datetime: datetime, time: time}[type(expected)]
        return parse.fromisoformat(found) == expected
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same_in_json, found, expected))
    if isinstance(expected, dict):
        return set(found) == set(expected) and all(
            same_in_json(found[key], expected[key]) for key in expected
        )
    return same(found, expected)


def close(found, expected):
    """Whether the values are equal except for rounding."""
    if isinstance(expected, list):
        return isinstance(found, list) and all(map(close, found, expected))
    if isinstance(expected, (int, Decimal, float)) and isinstance(found, (int, float, Decimal)):
        return abs(float(found) - float(expected)) <= 1e-6 * abs(float(expected))
    return found is expected


def verdict_of(case, read):
    file = only_file(case["folder"])
    expected = [None, *(eval(value) for value in case["values"])]
    if case["format"] == "csv":
        with open(cases_file.parent / f"{case['number']}.csv", newline="") as texts:
            quoted = texts.read()
        # The first row is NULL; an empty text is "" there.
        rows = list(csv.reader(quoted.splitlines(keepends=True)[1:]))
        expected = [None, *("".join(row) for row in rows)]
    try:
        found, found_type = read(file, case["format"])
    except Exception as error:
        return f"unreadable: {type(error).__name__}"
    if case["format"] == "json":
        exact = exact_json(file)
        if not all(map(same_in_json, exact, map(as_json, expected))):
            return f"wrong JSON: {exact}"
        expected = list(map(as_json, expected))
        as_texts = [value if isinstance(value, str) else None for value in exact]
        if found == as_texts or all(map(same, found, exact)):
            return f"ok: {found_type}"
    if len(found) == len(expected) and all(map(same, found, expected)):
        return f"ok: {found_type}"
    if len(found) == len(expected) and all(map(close, found, expected)):
        return f"rounded: {found_type}"
    return f"differs: {found_type}"


readers = {"DuckDB": with_duckdb, "Polars": with_polars, "pyarrow": with_pyarrow}
for case in json.loads(cases_file.read_text()):
    for name, read in readers.items():
        print(case["number"], case["format"], name, verdict_of(case, read), sep="\t")

"""Reads finished exports as plain folders, with DuckDB, Polars and pyarrow.

Arguments: folders, each named <shape>-<format>. Prints for each folder and reader the row count,
the sum of the ids, the number of NULL texts and the number of distinct partition values (p).
"""

import pathlib
import sys

import duckdb
import polars
import pyarrow.compute
import pyarrow.csv
import pyarrow.dataset

COLUMNS = {"id": "BIGINT", "words": "VARCHAR", "p": "VARCHAR"}


def columns_of(shape):
    """The columns in the files. In partitioned exports, p is in the folder names instead."""
    names = list(COLUMNS)
    return names[:2] if shape == "partitioned" else names


def with_duckdb(folder, shape, form):
    pattern = f"{folder}/**/*.{form}"
    hive = "hive_partitioning = false"
    if shape == "partitioned":
        hive = "hive_partitioning = true, hive_types = {'p': VARCHAR}"
    if form == "parquet":
        source = f"read_parquet('{pattern}', {hive})"
    else:
        types = {name: COLUMNS[name] for name in columns_of(shape)}
        text = "header = false, allow_quoted_nulls = false"
        source = f"read_csv('{pattern}', {text}, columns = {types}, {hive})"
    return duckdb.sql(
        f"SELECT count(*), sum(id), count(*) - count(words), count(DISTINCT p) FROM {source}"
    ).fetchone()


def with_polars(folder, shape, form):
    hive = {"p": polars.String}
    partitioned = shape == "partitioned"
    if form == "parquet":
        # Polars refuses a folder with other files in it: a manifest makes a pattern necessary.
        source = f"{folder}/*.parquet" if shape == "listed" else folder
        frame = polars.scan_parquet(
            source, hive_partitioning=partitioned, hive_schema=hive if partitioned else None
        )
    else:
        # Polars finds hive partitions in Parquet only.
        frame = polars.scan_csv(
            f"{folder}/**/*.csv",
            has_header=False,
            new_columns=columns_of(shape),
        )
    columns = frame.collect_schema().names()
    partitions = polars.col("p").n_unique() if "p" in columns else polars.lit(None)
    return frame.select(
        polars.len(), polars.sum("id").alias("ids"), polars.col("words").null_count(), partitions
    ).collect().row(0)


def with_pyarrow(folder, shape, form):
    names = columns_of(shape)
    if form == "parquet":
        file_format = pyarrow.dataset.ParquetFileFormat()
    else:
        file_format = pyarrow.dataset.CsvFileFormat(
            read_options=pyarrow.csv.ReadOptions(column_names=names),
            convert_options=pyarrow.csv.ConvertOptions(
                strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""]
            ),
        )
    partitioning = pyarrow.dataset.partitioning(
        pyarrow.schema([("p", pyarrow.string())]), flavor="hive"
    )
    table = pyarrow.dataset.dataset(
        folder, format=file_format, partitioning=partitioning if shape == "partitioned" else None
    ).to_table()
    return (
        table.num_rows,
        pyarrow.compute.sum(table["id"]).as_py(),
        table["words"].null_count,
        pyarrow.compute.count_distinct(table["p"]).as_py(),
    )


for folder in sys.argv[1:]:
    shape, form = pathlib.Path(folder).name.split("-")
    for read in (with_duckdb, with_polars, with_pyarrow):
        print(shape, form, read.__name__, *read(folder, shape, form))

"""Writes files of other programs that are easy to misread, into the folder given as argument."""

import datetime
import pathlib
import sys
import uuid

import duckdb
import pyarrow
import pyarrow.parquet

folder = pathlib.Path(sys.argv[1])


def parquet(name, columns, **options):
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / name, **options)


nan = float("nan")
parquet("nan.parquet", {"f": pyarrow.array([1.0, 2.0, nan, None, -0.0])})
parquet("one_and_nan.parquet", {"f": pyarrow.array([1.0, nan])})
parquet("float32_nan.parquet", {"f": pyarrow.array([1.0, nan], pyarrow.float32())})
pages = [1.0] * 20_000 + [nan] + [2.0] * 20_000
parquet(
    "nan_pages.parquet",
    {"f": pages},
    data_page_size=4096,
    write_page_index=True,
    use_dictionary=False,
)
late = datetime.datetime(9999, 12, 31, 2, 0)
parquet(
    "int96.parquet",
    {"t": pyarrow.array([late, datetime.datetime(1500, 1, 1)], pyarrow.timestamp("us"))},
    use_deprecated_int96_timestamps=True,
)
duckdb.sql(
    f"COPY (SELECT '{uuid.UUID(int=7)}'::UUID AS u) TO '{folder}/uuid.parquet' (FORMAT parquet)"
)
duckdb.sql(
    f"COPY (SELECT INTERVAL '14 months 3 days' AS i) TO '{folder}/interval.parquet'"
)
twice = pyarrow.table([[1], [2], [3]], names=["k", "v", "v"])
pyarrow.parquet.write_table(twice, folder / "twice.parquet")
(folder / "empty.parquet").touch()
(folder / "damaged.parquet").write_bytes(b"PAR1 is not enough PAR1")

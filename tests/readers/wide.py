"""wide.py FILE ROWS ROW_GROUP_ROWS: a Parquet file of DuckDB with 100 columns, each a single page of a
row group."""

import sys

import duckdb

OF_FIVE = [
    "(hash(i * {n}) % 1000)::BIGINT",
    "CASE WHEN hash(i + {n}) % 10 < 3 THEN NULL ELSE hash(i * 7 + {n}) % 1000000007 / 1000007.0 END",
    "printf('https://example.com/shop/item/%x?ref=%d', (hash(i + {n}) % 1099511627776)::BIGINT, i % 97)",
    "hash(i * 11 + {n}) % 2 = 0",
    "DATE '2011-01-01' + (hash(i * 13 + {n}) % 5000)::INT",
]

file, rows, row_group_rows = sys.argv[1:]
columns = [OF_FIVE[n % 5].format(n=n) + f" AS c{n}" for n in range(100)]
duckdb.sql("SET threads = 1")
duckdb.sql(
    f"COPY (SELECT {', '.join(columns)} FROM range({rows}) AS t(i))"
    f" TO '{file}' (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE {row_group_rows})"
)

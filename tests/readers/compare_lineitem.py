"""Compares exports of lineitem with the original, column by column, with DuckDB.

Arguments: folder of the original Parquet files, row count, S3 endpoint (host:port), region, key ID,
secret, then a glob pattern for each export. An export's folder is named <format>-<compression>.
"""

import pathlib
import sys

import duckdb
import duckdb_extension_httpfs

original, rows, endpoint, region, key, secret, *patterns = sys.argv[1:]
db = duckdb.connect()
# The package holds the extension's file, so that nothing is fetched from elsewhere.
package = pathlib.Path(duckdb_extension_httpfs.__path__[0])
db.execute(f"LOAD '{next(package.rglob('httpfs.duckdb_extension'))}'")
db.execute(
    f"""CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{secret}', REGION '{region}',
        ENDPOINT '{endpoint}', URL_STYLE 'path', USE_SSL false)"""
)
source = f"read_parquet('{original}/*.parquet')"
columns = db.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
names = [column[0] for column in columns]
types = {column[0]: column[1] for column in columns}


def checksums(relation):
    """Returns the row count, and for each column a sum of hashes that ignores the row order."""
    sums = ", ".join(f"sum(hash({name})::HUGEINT)" for name in names)
    return db.execute(f"SELECT count(*), {sums} FROM {relation}").fetchone()


expected = checksums(source)
assert expected[0] == int(rows), expected
for pattern in patterns:
    if "/parquet-" in pattern:
        relation = f"read_parquet('{pattern}')"
    elif "/csv-" in pattern:
        relation = f"read_csv('{pattern}', header = false, columns = {types})"
    else:
        relation = f"read_json('{pattern}', format = 'newline_delimited', columns = {types})"
    found = checksums(relation)
    assert found == expected, f"{pattern}: {found} instead of {expected}"
    print(f"{pattern}: {len(names)} columns agree")

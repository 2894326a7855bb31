"""Compares exports of lineitem with the original, column by column, with DuckDB.

Arguments: folder of the original Parquet files, s3:// target that has parquet/ and csv/, endpoint
host:port, region, key id, secret.
"""

import pathlib
import sys

import duckdb
import duckdb_extension_httpfs

original, target, endpoint, region, key, secret = sys.argv[1:]
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
    """Per column: a sum of hashes, which depends on every value and on no order."""
    sums = ", ".join(f"sum(hash({name})::HUGEINT)" for name in names)
    return db.execute(f"SELECT count(*), {sums} FROM {relation}").fetchone()


expected = checksums(source)
assert expected[0] == 6001215, expected
exports = {
    "parquet": f"read_parquet('{target}/parquet/*.parquet')",
    "csv": f"read_csv('{target}/csv/*.csv', header = false, columns = {types})",
}
for name, relation in exports.items():
    found = checksums(relation)
    assert found == expected, f"{name}: {found} instead of {expected}"
    print(f"{name}: {len(names)} columns agree")

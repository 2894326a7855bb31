"""Prints what the queries of catalog.sql and whole system tables return: names, types, rows.

Run with a connection string. Numbers of objects that are not the system's are replaced by the order in
which they appear.
"""

import hashlib
import pathlib
import re
import sys

import psycopg
from psycopg.pq import ExecStatus

connection = psycopg.connect(sys.argv[1], autocommit=True)
FOLDER = pathlib.Path(__file__).parent

# Tables that have the same rows in every database.
TABLES = """pg_aggregate pg_am pg_amop pg_amproc pg_auth_members pg_cast pg_conversion pg_extension pg_inherits
pg_init_privs pg_language pg_opclass pg_operator pg_opfamily pg_policy pg_range pg_sequence pg_trigger
pg_ts_config pg_ts_config_map pg_ts_dict pg_ts_parser pg_ts_template""".split()

numbers = {}


def own(match):
    if int(match[0]) < 16384:
        return match[0]
    return f"#{numbers.setdefault(match[0], len(numbers) + 1)}"


def plain(text):
    return re.sub(r"\b\d{5,6}\b", own, text)


def ask(sql):
    """Returns the names, types and rows of a query, or its SQLSTATE."""
    result = connection.pgconn.exec_(sql.encode())
    if result.status != ExecStatus.TUPLES_OK:
        return None, (result.error_field(67) or b"").decode(), []
    columns = range(result.nfields)
    names = [result.fname(column).decode() for column in columns]
    types = [result.ftype(column) for column in columns]
    rows = [
        [result.get_value(row, column) for column in columns]
        for row in range(result.ntuples)
    ]
    return names, types, [[v if v is None else v.decode() for v in row] for row in rows]


for query in (FOLDER / "catalog.sql").read_text().split(";\n"):
    sql = query.strip()
    if not sql:
        continue
    names, types, rows = ask(sql)
    print("--", " ".join(sql.split()))
    print(names, types)
    for row in rows:
        print(plain(repr(row)))

for table in TABLES:
    names, types, rows = ask(f"SELECT * FROM {table}")
    digest = hashlib.sha256(repr(sorted(map(repr, rows))).encode()).hexdigest()[:16]
    print(table, names, types, len(rows), digest)

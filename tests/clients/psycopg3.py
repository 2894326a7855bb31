"""Prints what psycopg 3 gets from a server. Run with a connection string."""

import datetime
import decimal
import sys
import threading
import uuid

import psycopg

connection = psycopg.connect(sys.argv[1])


def run(sql, parameters=None, binary=False):
    """Prints the rows, or the tag, or the error's class and SQLSTATE."""
    try:
        with connection.cursor(binary=binary) as cursor:
            cursor.execute(sql, parameters)
            result = cursor.fetchall() if cursor.description else cursor.statusmessage
        connection.commit()
    except psycopg.Error as error:
        connection.rollback()
        result = (type(error).__name__, error.sqlstate)
    print(sql, result)


print(connection.info.encoding, connection.info.parameter_status("DateStyle"))
VALUES = [
    "1::smallint, -2::int, 3::bigint, 2.50::numeric(10,2), -0.0001::numeric(8,4), 12345678.9::numeric(20,4)",
    "1.5::float8, -0.1::float4, 'NaN'::float8, true, false, null",
    "'text', '', 'ü€', '\\x00ff'::bytea",
    "date '2020-02-29', timestamp '2020-01-02 03:04:05.678901', time '23:59:59.5'",
    "timestamp with time zone '2020-01-02 03:04:05+02', interval '1 year 2 days 03:04:05'",
    "array[1,2,null]::int[], array['a','b,c','\"q\"']",
]
for binary in (False, True):
    for values in VALUES:
        run(f"select {values}", binary=binary)
    run(
        "select %s, %s, %s, %s, %s, %s, %s",
        (
            "x",
            2.5,
            decimal.Decimal("1.23"),
            datetime.date(2020, 1, 2),
            datetime.datetime(2020, 1, 2, 3, 4, 5, 6),
            True,
            b"\x00\x01\\",
        ),
        binary=binary,
    )
    run("select %s::bigint + 1, %s::int[]", (41, [1, 2, 3]), binary=binary)
    run("select %s::text", ("'; drop table t; --",), binary=binary)
    run("select %s::text", (None,), binary=binary)

ROWS = "generate_series(1, 1000) as t(v)"
run(f"select v from {ROWS} where v = any(%s) order by v", ([2, 3, 5000],))
run(f"select v from {ROWS} where v > %s order by v limit %s offset %s", (10, 3, 2))
run(f"select count(*) from {ROWS} where v between %s and %s", (10, 20))
run("select nope")
run("select 1 +")
run("select * from no_such_table")
run("select 1 / 0")
run("select %s::int", ("x",))
for value in range(8):
    # From the sixth time on, the statement is prepared.
    run("select %s::bigint * 2", (value,))

with connection.cursor(name="named") as cursor:
    cursor.itersize = 300
    cursor.execute(f"select v from {ROWS} order by v")
    print("named", cursor.fetchone(), len(cursor.fetchmany(10)), sum(row[0] for row in cursor))
connection.commit()
with connection.cursor(name="binary", binary=True) as cursor:
    cursor.execute(f"select v, v * 1.5::numeric(4,1) from {ROWS} order by v")
    print("named binary", cursor.fetchmany(2))
connection.rollback()

with connection.cursor(name="parameters") as cursor:
    cursor.execute("select v from generate_series(1, %s) as t(v) order by v", (5,))
    print("named with parameters", cursor.fetchall())
connection.rollback()

COPY = "copy (select v, 'x' || v::text, null::text from generate_series(1, 5) as t(v) order by v) to stdout"
with connection.cursor() as cursor:
    with cursor.copy(COPY) as copy:
        print("copy", list(copy.rows()), cursor.statusmessage)
    with cursor.copy(f"{COPY} (format binary)") as copy:
        copy.set_types(["int8", "text", "text"])
        print("copy binary", [len(row) for row in copy.rows()])
    with cursor.copy(f"{COPY} (format csv, header)") as copy:
        print("copy csv", b"".join(bytes(block) for block in copy))
connection.commit()

with connection.pipeline():
    cursors = [connection.execute("select %s::int", (value,)) for value in range(5)]
    print("pipeline", [cursor.fetchone() for cursor in cursors])
    failed = connection.execute("select 1 / %s::int", (0,))
    try:
        failed.fetchone()
    except psycopg.Error as error:
        print("pipeline error", error.sqlstate)
connection.rollback()

print("status", connection.info.transaction_status.name)
connection.execute("select 1")
print("status", connection.info.transaction_status.name)
try:
    connection.execute("select nope")
except psycopg.Error:
    print("status", connection.info.transaction_status.name)
try:
    connection.execute("select 1")
except psycopg.Error as error:
    print("in a failed block", error.sqlstate)
connection.rollback()
with connection.transaction():
    connection.execute("select 1")
    with connection.transaction():
        connection.execute("select 2")
print("status", connection.info.transaction_status.name)

connection.autocommit = True
connection.execute("set application_name to 'mine'")
print(connection.info.parameter_status("application_name"))
run("show application_name")
run("set no_such_setting to 1")
run("select current_setting('application_name'), set_config('application_name', 'other', false)")
run("show application_name")
threading.Timer(0.5, connection.cancel_safe).start()
run("select count(*) from generate_series(1, 100000000000) as t(v)")
run("set statement_timeout = 300")
run("select count(*) from generate_series(1, 100000000000) as t(v)")
run("reset all")
run("show statement_timeout")
run("select %s::uuid::text", (uuid.UUID(int=5),))
connection.close()

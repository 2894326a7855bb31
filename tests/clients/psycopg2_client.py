"""Prints what psycopg2 gets from a server. Run with a connection string."""

import sys

import psycopg2

connection = psycopg2.connect(sys.argv[1])
with connection.cursor() as cursor:
    cursor.execute("select %s, %s, %s, %s", (1, "it's", None, [1, 2]))
    print(cursor.fetchall())
    cursor.execute("select 1.50::numeric(5,2), date '2020-01-02', true, array['a', 'b']")
    print(cursor.fetchall(), [column.type_code for column in cursor.description])
connection.commit()
with connection.cursor("named") as cursor:
    cursor.itersize = 100
    cursor.execute("select v from generate_series(1, 1000) as t(v) order by v")
    print(sum(row[0] for row in cursor))
connection.commit()
with connection.cursor() as cursor, open("/dev/stdout", "w") as out:
    cursor.copy_expert("copy (select v, 'a' from generate_series(1, 3) as t(v) order by v) to stdout", out)
connection.commit()
try:
    with connection.cursor() as cursor:
        cursor.execute("select nope")
except psycopg2.Error as error:
    print(error.pgcode)
connection.rollback()
print(connection.encoding, connection.server_version // 10000)

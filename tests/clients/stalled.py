"""Asks for a large result, reads little of it, waits, and then cancels and reads the rest.

Run with host, port, user and password.
"""

import sys
import time

import psycopg

host, port, user, password = sys.argv[1:]
connection = psycopg.connect(host=host, port=port, user=user, password=password, dbname="x", autocommit=True)
socket = connection.pgconn
socket.send_query(b"select v, repeat('x', 1000) from generate_series(1, 5000000) as t(v)")
socket.flush()
time.sleep(4)
cancel = psycopg.connect(host=host, port=port, user=user, password=password, dbname="x", autocommit=True)
print(cancel.execute("select 1").fetchone())
cancel.close()
connection.cancel_safe()
socket.set_single_row_mode()
rows, error = 0, None
while result := socket.get_result():
    if result.error_message:
        error = result.error_field(psycopg.pq.DiagnosticField.SQLSTATE)
    rows += result.ntuples
print(rows < 5000000, error)
assert error == b"57014", error
connection.close()

"""Prints what tools that read the catalog find in a server. Arguments: host, port, user, password, database."""

import asyncio
import os
import sys
import urllib.parse

import adbc_driver_postgresql.dbapi
import asyncpg
import duckdb
import duckdb_extension_postgres_scanner
import sqlalchemy

host, port, user, password, database = sys.argv[1:]
address = f"{user}:{urllib.parse.quote(password)}@{host}:{port}/{database}"


def sqlalchemy_inspects():
    engine = sqlalchemy.create_engine(f"postgresql+psycopg://{address}")
    with engine.connect() as connection:
        inspector = sqlalchemy.inspect(connection)
        print(sorted(set(inspector.get_schema_names()) - {"tidegate"}))
        for schema in ("public", "sales"):
            print(schema, sorted(inspector.get_table_names(schema)), inspector.get_view_names(schema))
            for table in sorted(inspector.get_table_names(schema)):
                for column in inspector.get_columns(table, schema):
                    print(table, {name: str(value) for name, value in column.items()})
                print(inspector.get_pk_constraint(table, schema), inspector.get_unique_constraints(table, schema))
                print(inspector.get_indexes(table, schema), inspector.get_foreign_keys(table, schema))
                print(inspector.get_table_comment(table, schema), inspector.has_table(table, schema))
        orders = sqlalchemy.Table("orders", sqlalchemy.MetaData(), autoload_with=connection)
        print(connection.execute(sqlalchemy.select(orders.c.id, orders.c.amount)).all())


def adbc_reads():
    uri = f"postgresql://{address}"
    with adbc_driver_postgresql.dbapi.connect(uri, autocommit=True) as connection:
        found = connection.adbc_get_objects(
            depth="all", catalog_filter=database, db_schema_filter="public", table_name_filter="orders"
        )
        for catalog in found.read_all().to_pylist():
            for schema in catalog["catalog_db_schemas"]:
                for table in schema["db_schema_tables"]:
                    print(table["table_name"], table["table_type"], table["table_constraints"])
                    for column in table["table_columns"]:
                        print({name: value for name, value in column.items() if value is not None})
        print(connection.adbc_get_table_schema("orders"))
        with connection.cursor() as cursor:
            cursor.execute("SELECT id, customer, ok, d, f FROM orders ORDER BY id")
            print(cursor.fetch_arrow_table().to_pylist())


def duckdb_attaches():
    extension = os.path.dirname(duckdb_extension_postgres_scanner.__file__)
    [path] = [
        os.path.join(folder, name)
        for folder, _, names in os.walk(extension)
        for name in names
        if name.endswith(".duckdb_extension")
    ]
    db = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    db.execute(f"LOAD '{path}'")
    source = f"host={host} port={port} user={user} password='{password}' dbname={database}"
    quoted = source.replace("'", "''")
    db.execute(f"ATTACH '{quoted}' AS server (TYPE postgres, READ_ONLY)")
    tables = "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'server'"
    own = "AND schema_name IN ('public', 'sales') ORDER BY ALL"
    print(db.execute(f"{tables} {own}").fetchall())
    print(db.execute("DESCRIBE server.public.orders").fetchall())
    print(db.execute("SELECT id, customer, amount, n FROM server.orders WHERE id > 1 ORDER BY id").fetchall())
    print(db.execute("SELECT count(*), sum(n), min(d) FROM server.public.orders").fetchall())


async def asyncpg_reads():
    connection = await asyncpg.connect(
        host=host, port=int(port), user=user, password=password, database=database
    )
    print(await connection.fetch("SELECT conkey FROM pg_constraint WHERE conname = 'orders_pkey'"))
    sql = "SELECT relname, relkind, oid < $2::oid AS own FROM pg_class WHERE relname = any($1::text[]) ORDER BY 1"
    print(await connection.fetch(sql, ["orders", "plain"], 5))
    print(await connection.fetch("SELECT id, customer FROM orders WHERE id = any($1::bigint[]) ORDER BY 1", [1, 3]))
    print(await connection.fetchval("SELECT $1::regclass::text", "orders"))
    statement = await connection.prepare("SELECT attname, attnum FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > $2")
    print([str(p.name) for p in statement.get_parameters()], [(a.name, a.type.name) for a in statement.get_attributes()])
    await connection.close()


sqlalchemy_inspects()
adbc_reads()
duckdb_attaches()
asyncio.run(asyncpg_reads())

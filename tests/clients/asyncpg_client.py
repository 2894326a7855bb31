"""Prints what asyncpg gets from a server. Run with host, port, user and password."""

import asyncio
import sys

import asyncpg

host, port, user, password = sys.argv[1:]
SERVER = dict(host=host, port=int(port), user=user, password=password, database="postgres", ssl=False)


async def main():
    connection = await asyncpg.connect(**SERVER)

    async def run(sql, *parameters):
        try:
            rows = [tuple(row) for row in await connection.fetch(sql, *parameters)]
        except asyncpg.PostgresError as error:
            rows = (type(error).__name__, error.sqlstate)
        print(sql, rows)

    await run("select $1::int + 1, $2::text, $3::float8, $4::bool", 1, "x", 2.5, True)
    await run("select 1.50::numeric(5,2), date '2020-01-01', interval '1 day 2 hours', null::text")
    await run("select '\\x01'::bytea, '', 'ü'")
    await run("select timestamp '2020-01-02 03:04:05.5', timestamp with time zone '2020-01-02 03:04:05+02'")
    await run("select v from generate_series(1, 10) as t(v) where v > $1 order by v limit $2", 3, 2)
    await run("select nope")
    await run("select $1::bigint / $2::bigint", 1, 0)
    async with connection.transaction():
        rows = connection.cursor("select v from generate_series(1, 1000) as t(v)", prefetch=70)
        print(sum([row[0] async for row in rows]))
    statement = await connection.prepare("select $1::bigint * 2 as twice")
    print([await statement.fetchval(value) for value in range(3)])
    print([attribute.name for attribute in statement.get_attributes()])
    blocks = []

    async def keep(block):
        blocks.append(block)

    copied = "select v, 'x' from generate_series(1, 3) as t(v) order by v"
    print(await connection.copy_from_query(copied, output=keep), b"".join(blocks))
    await connection.close()

    pool = await asyncpg.create_pool(**SERVER, min_size=2, max_size=4)
    print(await asyncio.gather(*[pool.fetchval("select $1::int", value) for value in range(20)]))
    await pool.close()


asyncio.run(main())

-- Exports one day's orders into a folder of their own. The scheduler passes the day:
--
--   tidegate -v day=2024-05-01 -v orders=orders.parquet -v lake=s3://lake/orders \
--       -f export_orders.sql
--
-- A repeated run replaces the objects of an earlier run: no row is duplicated or missing, and a
-- reader sees the old objects until the new ones are there.
COPY (
    SELECT id, customer, price
    FROM :'orders'
    WHERE day = DATE :'day'
    ORDER BY id
)
TO :'lake' || '/day=' || :'day'
WITH (AWS CONNECTION = lake, FORMAT = 'parquet', MODE = 'overwrite', MANIFEST);

-- A day's orders, in a folder of their own. Whoever schedules it says which day:
--
--   tidegate -v day=2024-05-01 -v lake=s3://lake/orders -f export_orders.sql
--
-- A run that is repeated replaces what an earlier one has written: nothing is there twice, nothing is
-- missing, and a reader sees the old day until the new one is there.
COPY (
    SELECT id, customer, price
    FROM :'orders'
    WHERE day = DATE :'day'
    ORDER BY id
)
TO :'lake' || '/day=' || :'day'
WITH (AWS CONNECTION = lake, FORMAT = 'parquet', MODE = 'overwrite', MANIFEST);

CREATE TABLE orders (id bigint PRIMARY KEY, customer text NOT NULL, amount numeric(12,2), placed timestamp,
    ok boolean, n int, f double precision, d date, "Odd name" text);
CREATE VIEW big_orders AS SELECT id, amount FROM orders WHERE amount > 100;
CREATE SCHEMA sales;
CREATE TABLE sales.items (a int NOT NULL, b real, c smallint, UNIQUE (a));
CREATE TABLE plain AS SELECT 1::bigint AS x, 'a'::text AS y;
INSERT INTO orders VALUES
    (1, 'Ada', 1.50, '2020-01-02 03:04:05', true, 7, 0.5, '2020-01-02', 'x'),
    (2, 'Bob', 200.00, NULL, false, NULL, NULL, NULL, NULL),
    (3, 'Çelik', 12345678.90, '1999-12-31 23:59:59.5', NULL, -1, -1e300, '1970-01-01', '');

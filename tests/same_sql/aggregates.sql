⟨count(*)¦count(x)¦sum(x)¦avg(x)¦min(x)¦max(x)¦count(distinct x)¦sum(distinct x)¦avg(distinct x)¦stddev(x)¦stddev_pop(x)¦stddev_samp(x)¦variance(x)¦var_samp(x)⟩ from (values ⟨(1), (2), (2), (null), (4)¦(1.5), (2.25), (null), (0.1)¦(null::int)¦(7)¦(0.1::double precision), (0.2), (0.3)⟩) t(x)
⟨count(*)¦count(x)¦sum(x)¦avg(x)¦min(x)¦max(x)¦bool_and(x > 0)¦string_agg(x::text, ',')¦array_agg(x)¦stddev(x)⟩ from (values (1)) t(x) where false
⟨sum¦avg⟩(x) from (values (⟨9223372036854775807¦2147483647::int¦32767::smallint⟩), (⟨1¦-1⟩)) t(x)
⟨sum¦avg¦min¦max⟩(x) from (values (99999999999999999999999999999999999999), (1)) t(x)
sum(x) from (values (1e308::double precision), (-1e308)) t(x)
sum(x) from (values (1e308::double precision), (1e308)) t(x) -- differs: infinite sums
avg(x) from (values (1e308::double precision), (⟨1e308¦-1e308⟩)) t(x) -- differs: infinite sums
⟨min¦max⟩(x) from (values (⟨'b'¦'B'⟩), ('a'), (null), ('')) t(x)
⟨min¦max⟩(x) from (values (date '2024-01-01'), (date '2023-01-01')) t(x)
⟨min¦max¦sum¦avg⟩(x) from (values (interval '1 day'), (interval '3 hours')) t(x)
⟨min¦max¦bool_or¦count⟩(x) from (values (true), (false)) t(x)
⟨min¦max¦sum⟩(x) from (values ('NaN'::double precision), (1), (2)) t(x)
⟨corr¦covar_pop¦covar_samp¦regr_slope¦regr_intercept¦regr_count¦regr_r2¦regr_avgx¦regr_avgy¦regr_sxx¦regr_syy¦regr_sxy⟩(y, x) from (values (1, 2), (2, 3.5), (3, 5), (4, null)) t(x, y)
⟨bit_and¦bit_or¦bit_xor⟩(x) from (values (12), (10), (null)) t(x)
⟨string_agg(x, ',' order by x)¦string_agg(x, ',' order by x desc)¦string_agg(distinct x, ',' order by x)¦array_agg(x order by x)¦array_agg(distinct x order by x)⟩ from (values ('b'), ('a'), ('b')) t(x)
⟨percentile_cont(0.5)¦percentile_disc(0.5)¦percentile_cont(0.25)¦percentile_disc(0.9)¦mode()⟩ within group (order by x) from (values (1), (2), (2), (10)) t(x)
percentile_cont(0.5) within group (order by x) from (values (1.5), (2.5)) t(x)
count(*) filter (where x > ⟨1¦100⟩) from (values (1), (2), (null)) t(x)
sum(x) filter (where x > 100) from (values (1)) t(x)
select x, count(*), sum(y) from (values ('a', 1), ('b', 2), ('a', 3), (null, 4)) t(x, y) group by x order by x nulls first
select x, count(*) from (values (1), (1), (2)) t(x) group by x having count(*) > 1
select x % 2, sum(x) from (values (1), (2), (3)) t(x) group by ⟨x % 2¦1⟩ order by 1
select a, b, sum(c) from (values (1, 'x', 10), (1, 'y', 20), (2, 'x', 30)) t(a, b, c) group by ⟨rollup (a, b)¦cube (a, b)¦grouping sets ((a), (b), ())¦a, rollup (b)⟩ order by a nulls last, b nulls last
select grouping(a), sum(c) from (values (1, 10), (2, 20)) t(a, c) group by rollup (a) order by 1, 2
select grouping(a, b), count(*) from (values (1, 2)) t(a, b) group by cube (a, b) order by 1
select count(distinct x), count(distinct y) from (values (1, 2), (1, 3), (null, 3)) t(x, y)
select count(*), count(x) from (values (1), (null)) t(x) where x is null
select avg(x)::numeric(10,4) from (values (1), (2), (2)) t(x)
select sum(x) / count(*) from (values (1), (2), (4)) t(x)
select sum(x) * 1.0 / count(*) from (values (1), (2), (4)) t(x)
select round(avg(x), 2) from (values (1.5), (2.25), (2)) t(x)
select max(x) - min(x) from (values (1.5), (2.25)) t(x)
select any_value(x) from (values (1)) t(x)
select sum(x order by x) from (values (1), (2)) t(x)
var_pop(x) from (values (1), (2), (2), (null), (4)) t(x)
var_pop(x) from (values (1.5), (2.25), (null), (0.1)) t(x) -- differs: doubles

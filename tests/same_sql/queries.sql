select * from (values (1, 'a'), (2, 'b'), (3, null)) t(x, y) order by x ⟨asc¦desc⟩ ⟨¦limit 1¦limit 2 offset 1¦offset 2¦limit 0¦fetch first 2 rows only¦fetch first row only¦offset 1 rows fetch next 1 rows only⟩
select x from (values (2), (null), (1), (3)) t(x) order by x ⟨¦desc¦nulls first¦desc nulls last¦asc nulls last⟩
select x from (values ('b'), ('B'), ('a'), ('_'), ('')) t(x) order by x
select x from (values (1.5::double precision), ('NaN'), ('-Infinity'), (null)) t(x) order by x ⟨¦desc⟩
select distinct x from (values (1), (1), (null), (null), (2)) t(x) order by x
select distinct on (x) x, y from (values (1, 'b'), (1, 'a'), (2, 'c')) t(x, y) order by x, y
select t.x, u.y from (values (1), (2), (null)) t(x) ⟨join¦left join¦right join¦full join⟩ (values (1, 'a'), (3, 'c'), (null, 'n')) u(x, y) on t.x = u.x order by 1 nulls last, 2 nulls last
select * from (values (1, 'l')) t(x, a) ⟨join¦left join⟩ (values (1, 'r'), (1, 's')) u(x, b) using (x) order by b
select * from (values (1, 'l')) t(x, a) natural join (values (1, 'r')) u(x, b)
select t.x, u.x from (values (1), (2)) t(x) cross join (values (3), (4)) u(x) order by 1, 2
select t.x, u.x from (values (1), (2)) t(x), (values (3), (4)) u(x) where t.x + 2 = u.x
select t.x, s.m from (values (1), (2)) t(x)⟨,¦ cross join⟩ lateral (select max(y) as m from (values (1, 5), (2, 6), (1, 7)) u(x, y) where u.x = t.x) s order by 1
select t.x, s.y from (values (1), (2)) t(x) left join lateral (select y from (values (1, 5)) u(x, y) where u.x = t.x) s on true order by 1
select x from (values (1), (2), (2), (null)) t(x) ⟨union¦union all¦intersect¦intersect all¦except¦except all⟩ select x from (values (2), (3), (null)) u(x) order by 1 nulls last
select 1 union select 2 intersect select 2 order by 1
select 1 union select 2 except select 2
select 1 as x union all select ⟨2.5¦null¦2⟩ order by x
select 'a' union select null order by 1
select 0.1::double precision as x union all select ⟨0.1¦1e-20⟩ order by 1
select x from (values (1), (2), (3)) t(x) where x ⟨> 1 and x < 3¦in (1, 3)¦= any (array[1, 2])¦not in (select 1)¦<> all (array[1, 2])¦between 2 and 5⟩ order by x
select x from (values (1), (2), (3)) t(x) where exists (select 1 from (values (1), (3)) u(y) where u.y = t.x) order by x
select x, (select count(*) from (values (1), (1), (2)) u(y) where u.y = t.x) from (values (1), (2), (3)) t(x) order by x
select x from (values (1), (2)) t(x) where x > (select avg(y) from (values (1), (2)) u(y))
with t as (select 1 as x union all select 2) select sum(x) from t
with recursive t(n) as (values (1) union all select n + 1 from t where n < 5) select sum(n) from t
with recursive t(n) as (select 1 union select (n % 3) + 1 from t) select n from t order by n
with a(x) as (values (1), (2)), b as (select x * 2 as y from a) select * from a, b order by 1, 2
select x, row_number() over (order by x), rank() over (order by x), dense_rank() over (order by x), percent_rank() over (order by x), cume_dist() over (order by x), ntile(2) over (order by x) from (values (1), (2), (2), (4)) t(x) order by 1, 2
select x, ⟨lag(x)¦lead(x)¦lag(x, 2)¦lead(x, 1, 0)¦first_value(x)¦last_value(x)¦nth_value(x, 2)¦sum(x)¦avg(x)¦count(*)¦min(x)¦max(x)⟩ over (order by x) from (values (1), (2), (4), (8)) t(x) order by x
select x, ⟨sum(x)¦count(*)¦avg(x)¦first_value(x)¦last_value(x)¦max(x)⟩ over (order by x ⟨rows between 1 preceding and 1 following¦rows between unbounded preceding and current row¦range between 1 preceding and current row¦rows between current row and unbounded following¦groups between 1 preceding and current row⟩) from (values (1), (2), (2), (4)) t(x) order by x, 2
select g, x, sum(x) over (partition by g order by x), sum(x) over (partition by g) from (values ('a', 1), ('a', 2), ('b', 3)) t(g, x) order by g, x
select x, sum(x) over w, avg(x) over w from (values (1.5), (2.5)) t(x) window w as (order by x) order by x
select x, rank() over (order by x desc nulls last) from (values (1), (null), (3)) t(x) order by x
select x, sum(sum(x)) over (order by x) from (values (1), (1), (2)) t(x) group by x order by x
select x, count(*) filter (where x > 1) over (order by x) from (values (1), (2), (3)) t(x) order by x
select x, lag(x, 1, 0.5) over (order by x) from (values (1.5), (2.5)) t(x) order by x
select * from generate_series(1, ⟨5¦0¦1⟩)
select * from generate_series(⟨1, 10, 3¦5, 1, -2¦1, 3, 5⟩)
select * from generate_series(timestamp '2024-01-01', timestamp '2024-01-03', interval '1 day')
select * from unnest(array[1, 2, 3])
select unnest(array[1, 2])
select x, unnest(array[x, x * 2]) from (values (1), (2)) t(x) order by 1, 2
select * from (values (1, 2), (3, 4)) t order by column1
values (1, 'a'), (2, 'b')
values (1), (2.5), (null)
select a::text, a::int from (values (1)) t(a)
select sum(a), sum(a) from (values (1), (2)) t(a)
select 1 as a, 2 as a
select a, a from (values (1)) t(a)
select x as y from (values (2), (1)) t(x) order by y
select x as y from (values (2), (1)) t(x) order by x + 1
select -x as x from (values (1), (2)) t(x) order by x
select count(*) as count from (values (1), (2)) t(x) group by x order by count
select x from (values (1), (2)) t(x) group by x having sum(x) > 1
select 1 where ⟨true¦false¦null⟩
select all x from (values (1), (1)) t(x)
select t.* from (values (1, 2)) t(a, b)
select t from (values (1, 2)) t(a, b)
select (t).a from (values (1, 2)) t(a, b)
select x from (values (1), (2), (3)) t(x) order by x limit ⟨1 + 1¦null¦all⟩
select x from (values (1), (2)) t(x) where x::text like '1'
select * from (select 1 as a, 2 as b) s(x)
select coalesce(t.x, u.x) from (values (1)) t(x) full join (values (2)) u(x) on t.x = u.x order by 1
select count(*) from (values (1), (2)) t(x) join (values (1.0), (2.5)) u(y) on x = y
select count(*) from (values (0.1::double precision)) t(x) join (values (0.1)) u(y) on x = y
select count(*) from (values (0.1::double precision)) t(x) where x in (select 0.1)
select x from (values ('a'), ('b')) t(x) where x > 'a' collate "C"
table (values (1)) t
select sum(x) over () / count(*) over () from (values (1), (2)) t(x)
select 5 / 2, 5 / 2.0, 5 % 3, 5.0 / 2, -5 / 2
select 'x' as "Mixed Case", 1 as lower
select x, y from (values (1, 2)) t(x, y) where (x, y) in ((1, 2), (3, 4))
select x from (values (1), (2), (3)) t(x) offset 1
select max(x) filter (where x < 3) from (values (1), (2), (3)) t(x)
select a from (values (1, 2), (2, 1), (3, 0)) t(a, b) order by b
select a + 1 from (values (1, 2), (2, 1), (3, 0)) t(a, b) order by b ⟨¦desc⟩

⟨true¦false¦null::boolean⟩ ⟨and¦or⟩ ⟨true¦false¦null::boolean⟩
not ⟨true¦false¦null::boolean⟩
⟨true¦false¦null::boolean⟩ is ⟨true¦false¦unknown¦not true¦not false¦not unknown¦null¦not null⟩
⟨1¦null::int⟩ is ⟨distinct from¦not distinct from⟩ ⟨1¦2¦null⟩
1 is distinct from 1 and false
1 is not distinct from 2 or true
⟨true¦false⟩ ⟨=¦<>¦<¦>⟩ ⟨true¦false⟩
⟨1¦null::int¦3⟩ ⟨in¦not in⟩ (⟨1, 2¦1, null¦null⟩)
⟨1¦null::int¦5⟩ ⟨between¦not between¦between symmetric⟩ ⟨0 and 3¦3 and 0¦null and 3¦1 and null⟩
coalesce(⟨null, 1, 2¦null, null, 3.5¦null::text, 'x'¦1, null⟩)
coalesce(0.1::double precision, ⟨0.0¦1⟩)
nullif(⟨1, 1¦1, 2¦null, 1¦'a', 'a'¦1.0, 1⟩)
case when ⟨true¦false¦null⟩ then 'a' else 'b' end
case ⟨1¦2¦null::int⟩ when 1 then 'one' when 2 then 'two' end
case when false then 1 end
case when true then 1 else 2.5 end
case when true then 1.5::double precision else 2.5 end
case when false then 1e-20::double precision else 1e-20 end
case 0.1::double precision when 0.1 then 'same' else 'other' end
0.1::double precision in (0.1, 0.2)
1e300::double precision in (1.5, 1e300)
0.1::double precision between 0.1 and 0.2
1 < 2 = true
not 1 = 2
not true and false
⟨1¦2⟩ = 1 or ⟨true¦false⟩ and false
- 5 + 3 * 2 - -1
10 - 5 - 2
2 * 3 % 4
100 / 10 / 2
1 + 2 = 3 and 'a' || 'b' = 'ab'
'a' || 'b' like 'ab' || '%'
1 = 1 is true
5 between 1 and 10 and true
5 & 3 = 1
1 + 1 << 2
(1, 2) ⟨=¦<¦<>⟩ (⟨1, 2¦1, 3¦0, 5⟩)
(1, null) = (1, 2)
row(1, 'a') = row(1, 'a')
exists (select 1 where ⟨true¦false⟩)
(select ⟨1¦null::int¦1 where false⟩)
1 ⟨= any¦<> all¦< any¦> all⟩ (⟨array[1, 2]¦array[2, 3]⟩)
1 = any (select ⟨1¦2¦null::int⟩)
1 ⟨in¦not in⟩ (select x from (values (1), (null)) t(x))
3 ⟨in¦not in⟩ (select x from (values (1), (null)) t(x))
null = null
null is null
num_nulls(1, null, 2)
num_nonnulls(1, null, 2)
true::int + 1
bool_and(x) from (values (true), (null), (⟨true¦false⟩)) t(x)
bool_or(x) from (values (false), (null), (⟨true¦false⟩)) t(x)
every(x) from (values (true), (false)) t(x)
-46 in (⟨2.5¦-46¦null⟩, ceil(⟨0.5¦-46.2¦2⟩)::bigint)
⟨1¦null⟩ not in (round(2.5), abs(-1), null)

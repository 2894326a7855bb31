array[⟨1, 2, 3¦'a', 'b'¦1, null¦1.5, 2⟩]
(array[1, 2, 3])[⟨1¦3¦0¦4¦-1⟩]
(array[1, 2, 3])[⟨1:2¦2:¦:2⟩]
array[1, 2] || ⟨array[3]¦3⟩
array_append(array[1, 2], ⟨3¦null⟩)
array_prepend(0, array[1, 2])
array_cat(array[1], array[2, 3])
array_length(⟨array[1, 2, 3]¦array[[1, 2], [3, 4]]⟩, 1)
cardinality(⟨array[1, 2]¦array[[1, 2], [3, 4]]⟩)
array_position(array['sun', 'mon'], ⟨'mon'¦'x'⟩)
array_positions(array[1, 2, 1], 1)
array_remove(array[1, 2, 3, 2], ⟨2¦5⟩)
array_replace(array[1, 2, 5, 4], 5, 3)
array_ndims(array[[1, 2], [3, 4]])
array_dims(array[[1, 2], [3, 4]])
array_upper(array[1, 8, 3, 7], 1)
array_lower(array[1, 8], 1)
array_fill(7, array[3])
trim_array(array[1, 2, 3], 1)
array[1, 2, 3] ⟨@>¦<@¦&&⟩ array[⟨2¦9¦1, 2, 3, 4⟩]
array[1, 2] ⟨=¦<¦<>⟩ array[⟨1, 2¦1, 3¦1⟩]
array_agg(x) from (values (1), (2)) t(x)
array(select x from (values (1), (2)) t(x) order by x)
array[1, 2]::text[]
'{1,2,3}'::int[]
array_to_string(array['a', null, 'c'], '-', '*')
unnest(array['a', 'b'])
array_length(array[]::int[], 1)
array[[1, 2], [3, 4]]
2 = any(array[1, 2])
json '{"a": {"b": 1}, "c": [1, 2], "d": "x", "e": null}' ⟨-> 'a'¦->> 'a'¦-> 'c'¦->> 'd'¦-> 'd'¦->> 'e'¦-> 'z'¦->> 'z'⟩
json '[1, 2, 3]' ⟨-> 0¦->> 1¦-> -1¦-> 5⟩
(json '{"a": {"b": 1}}' -> 'a') ->> 'b'
json '{"a": {"b": [1, {"c": "x"}]}}' ⟨#> '{a,b}'¦#>> '{a,b,1,c}'¦#>> '{a,b,0}'⟩
jsonb '{"a": 1, "b": 2}' ⟨? 'a'¦? 'z'¦-> 'a'¦->> 'b'⟩
json_array_length('⟨[1, 2, 3]¦[]⟩')
jsonb_array_length('[1, 2]')
json_typeof(⟨'1'¦'"x"'¦'{}'¦'[]'¦'null'¦'true'⟩)
json_extract_path_text('{"a": {"b": "x"}}', 'a', 'b')
to_json(⟨1¦'x'::text¦true⟩)
json_build_object('a', 1)
row_to_json(row(1, 'a'))
'{"a": 1}'::json ->> 'a'
('{"a": 1}'::jsonb ->> 'a')::int + 1
'{"a": {"b": [10, 20, {"c": null}]}, "k.x": 1.50, "a b": "x\ty"}'::json ⟨-> 'a' -> 'b' -> -1¦-> 'a' -> 'b' ->> -3¦->> 'k.x'¦->> 'a b'¦-> 'a b'¦#> '{a,b,2,c}'¦#>> '{a,b,2,c}'¦#>> '{a,b,-1}'¦#> '{}'¦#>> '{"a b"}'⟩
'{"bb": 1, "a": 2, "a": [ ], "c": {"y":1e2,"x":-0.0}}'::⟨json¦jsonb⟩::text
'[1.10, "é☃", "\u0041\n", true, null, 1E-3]'::⟨json¦jsonb⟩::text
('{"a": 1}'::⟨json¦jsonb⟩ -> 'a')::text || 'x'
'{"a": 1, "a": 2}'::json -> 'a'
⟨'{"a": 01}'¦'{a: 1}'¦'[1,]'¦''¦'nul'¦'{"a" 1}'⟩::⟨json¦jsonb⟩
null::json -> 'a'
'[1, 2]'::json -> null::int
'"x"'::json ⟨-> 0¦->> 'a'⟩
jsonb_typeof('⟨{}¦[1]¦"x"¦-1.5¦false¦null⟩'::jsonb)
json_array_length('{"a": 1}')
json_extract_path('{"a": [1, {"b": 2}]}', 'a', ⟨'1'¦'0'¦'-1'¦'x'⟩)
select x ->> 'n' from (values (json '{"n": 1}'), (json '{"n": "two"}'), (json '{}'), (null)) t(x)
select sum((x ->> 'n')::numeric) from (values (json '{"n": 1}'), (json '{"n": "2.5"}'), (json '{}')) t(x)
(array[1, 2, 3, 4])[⟨2:3¦:2¦3:¦:¦4:2⟩]
array_⟨upper¦lower¦length⟩(⟨array[5, 6]¦array[]::int[]¦null::int[]⟩, ⟨1¦2⟩)
⟨array[1, 2]¦array[]::int[]¦array[7]⟩ && ⟨array[2, 3]¦array[]::int[]⟩
json_extract_path('{"a": {"b": 1,  "a":2}}', 'a')
'{"b c": 1, "NULL": 2}'::json #>> ⟨'{ "b c" }'¦'{NULL}'¦'{"NULL"}'¦'{"a"b}'⟩
'[1, 2]'::json #> ⟨'{"0 "}'¦'{ 1}'⟩
'{"a": "\u0000"}'::json ->> 'a'

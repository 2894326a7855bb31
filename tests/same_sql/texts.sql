'a' || ⟨'b'¦null¦1¦1.5¦true¦''⟩
concat(⟨'a', null, 'b'¦1, 2.5, true¦null¦''⟩)
concat_ws(⟨','¦null¦''⟩, ⟨'a', null, 'b'¦1, 2⟩)
⟨length¦char_length¦character_length¦octet_length¦bit_length⟩(⟨''¦'abc'¦'naïve'¦'☃𝄞'¦' a '⟩)
⟨upper¦lower¦initcap¦reverse¦md5⟩(⟨''¦'aBc dEf'¦'hi THOMAS, o''neil x-y'⟩)
-- Upper and lower case of other letters depends on PostgreSQL's locale.
⟨reverse¦md5⟩(⟨'straße'¦'ÀÉ é'⟩)
⟨ltrim¦rtrim¦btrim¦trim⟩(⟨'  a b  '¦E'\ta\t'¦'xxyx'¦''⟩)
⟨ltrim¦rtrim¦btrim⟩(⟨'xyxtrimyyx'¦'abc'⟩, ⟨'xyz'¦''¦'c'⟩)
trim(⟨both¦leading¦trailing⟩ 'x' from 'xTomxx')
trim(⟨both¦leading¦trailing⟩ from '  Tom ')
substring('Thomas' from ⟨2¦0¦-1¦10⟩ for ⟨3¦0¦100⟩)
substring('Thomas' from ⟨2¦-2¦7⟩)
substring('Thomas' for ⟨3¦0⟩)
substr('alphabet', ⟨3¦0¦-2⟩, ⟨2¦0⟩)
substr('alphabet', ⟨3¦-2¦20⟩)
substring('Thomas', 2, -1)
substring('foobar' from ⟨'o(.)b'¦'o.b'¦'x'⟩)
⟨left¦right⟩('abcde', ⟨2¦0¦-2¦10¦-10⟩)
⟨lpad¦rpad⟩('hi', ⟨5¦1¦0¦-1⟩, ⟨'xy'¦''¦' '⟩)
⟨lpad¦rpad⟩('hi', ⟨5¦1⟩)
repeat('Pg', ⟨4¦0¦-1⟩)
replace(⟨'abcdefabcdef'¦''⟩, ⟨'cd'¦''¦'x'⟩, ⟨'XX'¦''⟩)
translate('12345', ⟨'143'¦''¦'11'⟩, ⟨'ax'¦''¦'xyz'⟩)
position(⟨'om'¦'x'¦''⟩ in ⟨'Thomas'¦''⟩)
strpos(⟨'high'¦'日本語'⟩, ⟨'ig'¦''¦'語'¦'z'⟩)
starts_with('alphabet', ⟨'alph'¦''¦'x'⟩)
split_part('abc~@~def~@~ghi', '~@~', ⟨2¦1¦4¦-1¦0⟩)
split_part(⟨'a,b'¦''⟩, ⟨','¦''⟩, ⟨1¦2⟩)
overlay('Txxxxas' placing 'hom' from ⟨2¦1⟩ for ⟨4¦0⟩)
overlay('Txxxxas' placing 'hom' from 2)
ascii(⟨'x'¦''¦'é'¦'☃'⟩)
chr(⟨65¦8364¦233⟩)
chr(0) -- differs: chr(0)
⟨quote_literal¦quote_ident¦quote_nullable⟩(⟨'O''Reilly'¦'Foo bar'¦'abc'⟩)
format(⟨'Hello %s', 'World'¦'%s %s', 1, 'x'¦'%I', 'Foo bar'¦'%L', 'O''Reilly'¦'%%'¦'%2$s %1$s', 'a', 'b'¦'%10s|', 'foo'¦'%-10s|', 'foo'⟩)
regexp_replace('Thomas', ⟨'.[mN]a.'¦'o'¦'x'⟩, 'M')
regexp_replace(⟨'foobarbaz'¦'aaa'⟩, ⟨'b..'¦'a'⟩, ⟨'X'¦''⟩, ⟨'g'¦''¦'i'⟩)
regexp_replace('foobarbaz', 'b(..)', ⟨'X\1Y'¦'\\1'¦'[\&]'⟩, 'g')
regexp_match(⟨'foobarbequebaz'¦'abc'⟩, ⟨'bar.*que'¦'(bar)(beque)'¦'x'⟩)
regexp_like(⟨'Hello World'¦'abc'⟩, ⟨'world$'¦'b'⟩)
regexp_like('Hello World', 'world$', 'i')
regexp_count(⟨'123456789012'¦'aaa'⟩, ⟨'\d\d\d'¦'a'¦'z'⟩)
regexp_instr('ABCDEF', ⟨'c(.)(..)'¦'C'⟩)
regexp_substr('ABCDEF', ⟨'C.'¦'z'⟩)
regexp_split_to_array('hello world', ⟨'\s+'¦'x'⟩)
string_to_array(⟨'xx~~yy~~zz'¦''¦null⟩, ⟨'~~'¦null⟩)
string_to_array('xx~~yy~~zz', '~~', 'yy')
array_to_string(array[1, 2, NULL, 3], ⟨','¦''⟩)
array_to_string(array[1, 2, NULL, 3], ',', '*')
encode('\x1234ab'::bytea, ⟨'hex'¦'base64'¦'escape'⟩)
decode(⟨'1234ab', 'hex'¦'EjSr', 'base64'¦'xyz', 'hex'⟩)
⟨sha224¦sha256¦sha384¦sha512⟩('abc'::bytea)
unistr(⟨'d\0061t\+000061'¦'abc'⟩)
normalize(U&'\0061\0308bc', NFC)
⟨'abc'¦'a%c'¦'a_c'¦'ABC'¦''¦'a\c'⟩ ⟨like¦not like¦ilike¦similar to¦not similar to⟩ ⟨'abc'¦'a%'¦'_b_'¦'%'¦''¦'a\%c'¦'a\_c'⟩
'abc' like null
⟨'a%c'¦'abc'¦'a!c'⟩ ⟨like¦ilike¦not like⟩ ⟨'a!%c'¦'a!_c'¦'a!!c'⟩ escape '!'
⟨'a%c'¦'a\c'⟩ like ⟨'a\c'¦'a\%c'⟩ escape ''
'abc' like 'abc!' escape '!'
'abc' like 'ab\'
⟨'abc'¦'abbbc'¦'ac'¦'abcabc'¦'a.c'¦'xabcx'⟩ similar to ⟨'a(b|d)c'¦'ab*c'¦'ab+c'¦'ab?c'¦'ab{2,3}c'¦'(abc){2}'¦'a.c'¦'[a-c]+'¦'[^x]%'¦'%(b|d)%'¦'a[[:alpha:]]c'⟩
'a%b' similar to 'a!%b' escape '!'
⟨'thomas'¦'THOMAS'¦'a+b'⟩ ⟨~¦~*¦!~¦!~*⟩ ⟨'t.*ma'¦'^th'¦'s$'¦'T.*MA'¦'a\+b'¦'\d'¦'[[:alpha:]]+'⟩
⟨'abc'¦'abcx'⟩ ~ ⟨'^abc$'¦'abc'¦'(?i)ABC'¦'a{2}'⟩
E'a\nb' ~ ⟨'a.b'¦'^b'¦'a$'⟩
⟨'a'¦'B'¦'b'¦''¦'é'⟩ ⟨<¦=¦>⟩ ⟨'b'¦'A'¦'ab'⟩
E'⟨\n¦\t¦\\¦\x41¦\u00e9¦\''¦a\bc⟩'
'it''s'
U&'d\0061t\+000061'
$$dollar$$
$tag$a $$ b$tag$
'⟨ab¦a⟩' 
length(⟨'a '::char(5)¦'a '::varchar(5)¦E'a\n'⟩)
⟨'abc '¦'abc'⟩ = 'abc'
concat('x', ⟨'a'::char(3)¦1.50¦date '2024-01-01'¦true⟩)
string_agg(x, ⟨','¦''⟩) from (values ('a'), (null), ('b')) as t(x)
parse_ident(⟨'a.b'¦'"A".b'⟩)
to_ascii('abc')
⟨'abc' < 'abd'¦'a' between 'A' and 'b'¦'a' in ('b', null)¦'a' not in ('b')¦'a' in ('a', null)⟩
format(⟨'%s-%s', 'a', null¦'%L', null¦'%L', E'a\\b''c'¦'%I.%I', 'select', 'plain'¦'%2$s|%1$s|%s', 'a', 'b'¦'%*s|', 5, 'x'¦'%-*s|', 5, 'x'¦'%*s|', -5, 'x'¦'%1$*2$s|', 'x', 4¦'%s', true¦'%s', 1.50¦'%d', 1¦'%s'¦'100%'¦'%%%s%%', 'x'⟩)
quote_ident(⟨'a1'¦'A'¦'1a'¦'a b'¦'a"b'¦'select'¦'name'¦'time'¦'user'¦''⟩)
quote_literal(⟨1.50¦'it''s'¦E'a\\b'⟩)
quote_nullable(null)
num_nulls(⟨null¦1, 2¦null, 'x', null⟩)
regexp_substr(⟨'foobarbaz'¦'abc'⟩, ⟨'b(a)(r|z)'¦'b.'¦'^f'⟩)
substring(⟨'foobarbaz'¦'abc'¦null⟩ from ⟨'b(a)(r|z)'¦'b.'¦'^f'⟩)
⟨'abc'¦'abbbc'¦'a,c'⟩ similar to ⟨'a(b){1,2}c'¦'ab{2,}c'¦'a(b|,){1}c'¦'a[,]c'⟩
⟨'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'¦'{A0EEBC999C0B4EF8BB6D6BB9BD380A11}'¦'a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11'¦'a0eebc99'¦'g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'⟩::uuid
length(gen_random_uuid()::text)
U&'d\0061t\+000061'
substring('bc' from '(a)?b(c)')
substring('foobar' from 'fo|foo')
to_char(125, '9') || format('%s', null::int)

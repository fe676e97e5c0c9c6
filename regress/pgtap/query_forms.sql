-- Query forms, types and functions, each through the whole path: decoded from a topic, stored in a view, encoded into a sink and
-- decoded again. A view must equal its query over the topic, its sink read as a table must equal the view, and a view that
-- stores nothing must write the same.
SELECT no_plan();
SET client_min_messages = warning;
CREATE SCHEMA forms;
CREATE SCHEMA contrib;
CREATE EXTENSION citext SCHEMA contrib;
CREATE EXTENSION hstore SCHEMA contrib;
CREATE EXTENSION ltree SCHEMA contrib;
CREATE EXTENSION cube SCHEMA contrib;
CREATE EXTENSION seg SCHEMA contrib;
SET search_path = forms, contrib, public;
SELECT kafka_test.create_server('broker') \g /dev/null
SELECT kafka_test.create_topic('forms_docs', 2), kafka_test.create_topic('forms_lts', 1), kafka_test.create_topic('forms_keys', 1) \g /dev/null

CREATE TYPE mood AS ENUM ('sad', 'so "so"', 'happy');
CREATE DOMAIN price AS numeric(10,2) CHECK (value > 0);
CREATE DOMAIN short_list AS int[] CHECK (cardinality(value) < 5);
CREATE TYPE address AS (street text, "No" int, since date);
CREATE DOMAIN home AS address CHECK ((value)."No" > 0);
CREATE TYPE item AS (sku text, qty int, price numeric);

-- One document has something of everything; every seventh has nothing but its key and time.
CREATE FOREIGN TABLE docs (
	id int, at timestamptz, n int, txt text, items jsonb, raw json, tags text[], matrix int[], attrs jsonb,
	mood mood, moods mood[], price price, list short_list, addr address, addrs address[], home home,
	span tstzrange, ints int4range, many int4multirange, days datemultirange,
	ct citext, hs hstore, lt ltree, cu cube, sg seg, lts ltree[],
	tod time, ttz timetz, iv interval, ip inet, net cidr, mac macaddr, money money, bits bit(4), vbits varbit, pt point, bx box, xm xml,
	tsv tsvector, tsq tsquery, ch "char", nm name, c5 char(5), v3 varchar(3), r float4, d float8, big int8, bin bytea, u uuid, o oid, jp jsonpath, lsn pg_lsn
) SERVER broker OPTIONS (topic 'forms_docs', event_time 'at');
SELECT kafka_test.produce('forms_docs', $$SELECT i % 5, CASE WHEN i % 7 = 0 THEN jsonb_build_object('id', i, 'at', 1700000000000 + i * 3600000) ELSE jsonb_build_object(
	'id', i, 'at', 1700000000000 + i * 3600000, 'n', i % 4, 'txt', 'The quick brown foxes, No. ' || i || E'\n"quoted" \\ ünïcödé',
	'items', (SELECT coalesce(jsonb_agg(jsonb_build_object('sku', 's' || k, 'qty', k, 'price', k * 1.10)), '[]') FROM generate_series(1, i % 4) k),
	'raw', jsonb_build_array(i, 'x', NULL, jsonb_build_object('k', i)), 'tags', to_jsonb((ARRAY['a', 'B"b', 'c,c', '{}', NULL])[1:i % 6]),
	'matrix', jsonb_build_array(jsonb_build_array(i, 2), jsonb_build_array(3, 4)), 'attrs', jsonb_build_object('color', 'c' || i % 3, 'deep', jsonb_build_object('a', jsonb_build_array(1, i))),
	'mood', (ARRAY['sad', 'so "so"', 'happy'])[i % 3 + 1], 'moods', '["happy", null, "sad"]'::jsonb, 'price', i + 0.5, 'list', jsonb_build_array(i, 7),
	'addr', jsonb_build_object('street', 'Main "St"', 'No', i % 3, 'since', '2020-02-29'), 'addrs', '[{"street": "x", "No": 1}, null, {"since": "1969-12-31"}]'::jsonb,
	'home', jsonb_build_object('street', 'at home', 'No', i), 'span', jsonb_build_object('start', '2024-01-01T00:00:00Z', 'end', CASE WHEN i % 2 = 0 THEN '2024-02-01T00:00:00Z' END),
	'ints', format('[%s,%s)', i, i + 3), 'many', format('{[1,3),[5,%s)}', i + 6), 'days', '{[2024-01-01,2024-01-05),[2024-03-01,2024-03-02)}') || jsonb_build_object(
	'ct', CASE WHEN i % 2 = 0 THEN 'ABC' ELSE 'abc' END, 'hs', format('a=>%s, "b c"=>NULL', i % 3), 'lt', format('top.n%s.leaf', i % 3), 'cu', format('(1,%s),(3,4)', i % 3), 'sg', format('%s .. 9.5', i % 3),
	'lts', '["a.b", "c"]'::jsonb, 'tod', '23:59:59.123456', 'ttz', '12:00:00+05:30', 'iv', '1 mon 2 days 03:04:05', 'ip', '192.168.1.5/24', 'net', '10.0.0.0/8', 'mac', '08:00:2b:01:02:03',
	'money', 12.34, 'bits', '1010', 'vbits', '101', 'pt', '(1.5,2)', 'bx', '(3,4),(1,2)', 'xm', '<a b="1">x</a>', 'tsv', '''a'':1 ''b'':2,3A', 'tsq', 'a & !b', 'ch', 'x', 'nm', 'a name', 'c5', 'ab', 'v3', 'abc',
	'r', 0.1, 'd', 1e300, 'big', 9007199254740993, 'bin', '\x00ff', 'u', '12345678-1234-1234-1234-1234567890ab', 'o', 4294967295, 'jp', '$.a[*]', 'lsn', '16/B374D848') END
	FROM generate_series(1, 30) i$$) \g /dev/null

-- tables whose keys are of such types
CREATE FOREIGN TABLE lts (lt ltree OPTIONS (key 'true'), label text, mood mood) SERVER broker OPTIONS (topic 'forms_lts', mode 'upsert');
CREATE FOREIGN TABLE keys (addr address OPTIONS (key 'true'), mood mood OPTIONS (key 'true'), hs hstore OPTIONS (key 'true'), price price) SERVER broker OPTIONS (topic 'forms_keys', mode 'upsert');
INSERT INTO lts SELECT format('top.n%s.leaf', i % 3)::ltree, 'label ' || i, 'so "so"' FROM generate_series(1, 5) i;
INSERT INTO keys SELECT ('Main "St"', i % 3, date '2020-02-29')::address, m, hstore('a', (i % 3)::text) || '"b c"=>NULL', i + 1 FROM generate_series(0, 8) i, unnest(enum_range(NULL::mood)) m;
DELETE FROM lts WHERE lt = 'top.n2.leaf';

CREATE TABLE form (name text PRIMARY KEY, query text);

-- what the settings are when the views are made; the worker's own are others
SELECT format('ALTER DATABASE %I SET %s = %L', current_database(), name, value) FROM (VALUES ('timezone', 'America/New_York'), ('datestyle', 'ISO, MDY'),
	('intervalstyle', 'iso_8601'), ('default_text_search_config', 'simple'), ('bytea_output', 'hex'), ('quote_all_identifiers', 'on'), ('xmloption', 'document'),
	('array_nulls', 'off'), ('extra_float_digits', '-3'), ('search_path', 'nowhere')) s(name, value) \gexec
SET timezone = 'Asia/Tokyo';
SET datestyle = 'German';
SET intervalstyle = 'sql_standard';
SET default_text_search_config = 'english';
SET bytea_output = 'escape';
SET quote_all_identifiers = off;
SET xmloption = content;
SET array_nulls = on;
SET extra_float_digits = 1;

INSERT INTO form VALUES
-- rows of JSON arrays and objects
('elements', 'SELECT d.id, e->>''sku'' AS sku, (e->>''qty'')::int * 2 AS twice FROM docs d, jsonb_array_elements(d.items) e'),
('elements_left', 'SELECT d.id, e.item, e.place FROM docs d LEFT JOIN LATERAL jsonb_array_elements(d.items) WITH ORDINALITY AS e(item, place) ON true'),
('elements_left_some', 'SELECT d.id, e.item FROM docs d LEFT JOIN LATERAL jsonb_array_elements(d.items) AS e(item) ON (e.item->>''qty'')::int > 1'),
('recordset', 'SELECT d.id, r.* FROM docs d CROSS JOIN LATERAL jsonb_to_recordset(d.items) AS r(sku text, qty int, price numeric)'),
('recordset_place', 'SELECT d.id, r.* FROM docs d CROSS JOIN ROWS FROM (jsonb_to_recordset(d.items) AS (sku text, qty int)) WITH ORDINALITY AS r(s, q, place)'),
('populate', 'SELECT d.id, r.sku, r.price FROM docs d, jsonb_populate_recordset(NULL::item, d.items) r'),
('to_record', 'SELECT d.id, r.color, r.deep FROM docs d, jsonb_to_record(d.attrs) AS r(color text, deep jsonb)'),
('each', 'SELECT d.id, e.key, e.value FROM docs d, jsonb_each(d.attrs) e'),
('each_text', 'SELECT d.id, e.key, e.value FROM docs d, jsonb_each_text(d.attrs->''deep'') e(key, value)'),
('object_keys', 'SELECT d.id, k FROM docs d CROSS JOIN LATERAL jsonb_object_keys(d.attrs) AS k'),
('path', 'SELECT d.id, p FROM docs d, jsonb_path_query(d.attrs, ''$.deep.a[*] ? (@ > 1)'') p'),
('json_elements', 'SELECT d.id, e.value AS part FROM docs d, json_array_elements(d.raw) e WHERE json_typeof(e.value) <> ''null'''),
('nested', 'SELECT d.id, i.value->>''sku'' AS sku, k.key FROM docs d, jsonb_array_elements(d.items) i, jsonb_each(i.value) k WHERE k.key <> ''sku'''),
('elements_sum', 'SELECT e->>''sku'' AS sku, sum((e->>''qty'')::int) AS qty, count(*) AS n FROM docs d, jsonb_array_elements(d.items) e GROUP BY 1'),
-- rows of SQL arrays
('unnested', 'SELECT d.id, t FROM docs d, unnest(d.tags) t'),
('unnested_place', 'SELECT d.id, t.tag, t.place FROM docs d, unnest(d.tags) WITH ORDINALITY AS t(tag, place)'),
('unnested_two', 'SELECT d.id, t.* FROM docs d, unnest(d.tags, d.matrix, d.moods) WITH ORDINALITY AS t(tag, m, mood, place)'),
('rows_from', 'SELECT d.id, t.* FROM docs d, ROWS FROM (unnest(d.tags), generate_series(1, d.n), jsonb_array_elements(d.items)) WITH ORDINALITY AS t(tag, g, item, place)'),
('unnested_rows', 'SELECT d.id, a.street, a."No", a.since FROM docs d, unnest(d.addrs) a'),
('series', 'SELECT d.id, g FROM docs d, generate_series(d.n, 1, -1) g'),
('series_time', 'SELECT d.id, g FROM docs d, generate_series(d.at, d.at + interval ''2 days'', interval ''1 day'') g WHERE d.id < 4'),
('series_subscripts', 'SELECT d.id, d.tags[g] AS tag FROM docs d CROSS JOIN LATERAL generate_subscripts(d.tags, 1) g'),
('words', 'SELECT d.id, w FROM docs d, regexp_split_to_table(d.txt, ''\s+'') w'),
('matches', 'SELECT d.id, m FROM docs d, regexp_matches(d.txt, ''[a-z]o[a-z]'', ''g'') m'),
('hstore_each', 'SELECT d.id, e.* FROM docs d, each(d.hs) e'),
('sql_function_rows', 'SELECT d.id, f.* FROM docs d, forms.parts_of(d.items) f'),
('plpgsql_rows', 'SELECT d.id, f FROM docs d, forms.count_down(d.n) f'),
('table_of_xml', 'SELECT d.id, x.* FROM docs d, XMLTABLE(''/a'' PASSING d.xm COLUMNS b int PATH ''@b'', place FOR ORDINALITY) x'),
('whole_rows', 'SELECT d.id, r AS part, to_jsonb(s) AS other FROM docs d, jsonb_populate_recordset(NULL::item, d.items) r, jsonb_to_recordset(d.items) AS s(sku text, qty int) WHERE s.qty = r.qty'),
-- rows that do not come from a table: VALUES, and subqueries over the row itself
('constants', 'SELECT d.id, v.label FROM docs d JOIN (VALUES (0, ''none''), (1, ''one''), (1, ''uno'')) AS v(n, label) ON v.n = d.n'),
('constants_left', 'SELECT d.id, v.label FROM docs d LEFT JOIN (VALUES (0, ''none''), (1, ''one'')) AS v(n, label) USING (n)'),
('constants_all', 'SELECT d.id, v.* FROM (VALUES (1, NULL::text), (2, ''two'')) v(a, b) CROSS JOIN docs d'),
('turned', 'SELECT d.id, v.name, v.value FROM docs d CROSS JOIN LATERAL (VALUES (''n'', d.n::numeric), (''price'', d.price), (''big'', d.big)) v(name, value) WHERE v.value IS NOT NULL'),
('named', 'SELECT d.id, x.twice, y.more FROM docs d CROSS JOIN LATERAL (SELECT d.n * 2 AS twice) x CROSS JOIN LATERAL (SELECT x.twice + 1 AS more WHERE x.twice > 2) y'),
('named_left', 'SELECT d.id, x.big FROM docs d LEFT JOIN LATERAL (SELECT d.n AS big WHERE d.n > 1) x ON true'),
('own_sum', 'SELECT d.id, s.total, s.n FROM docs d CROSS JOIN LATERAL (SELECT sum((e->>''qty'')::int * (e->>''price'')::numeric) AS total, count(*) AS n FROM jsonb_array_elements(d.items) e) s'),
('own_best', 'SELECT d.id, s.sku FROM docs d LEFT JOIN LATERAL (SELECT e->>''sku'' AS sku FROM jsonb_array_elements(d.items) e WHERE (e->>''qty'')::int < 3 ORDER BY (e->>''price'')::numeric DESC LIMIT 1) s ON true'),
('own_groups', 'SELECT d.id, s.* FROM docs d, LATERAL (SELECT t, row_number() OVER (ORDER BY t) AS place FROM (SELECT DISTINCT t FROM unnest(d.tags || d.tags) t) u WHERE t <> (SELECT min(x) FROM unnest(d.tags) x)) s'),
('own_union', 'SELECT d.id, s.v FROM docs d, LATERAL (SELECT d.n AS v UNION SELECT g FROM generate_series(1, d.n) g) s'),
('own_sum_groups', 'SELECT s.n AS parts, sum(s.total) AS total FROM docs d CROSS JOIN LATERAL (SELECT sum((e->>''qty'')::int) AS total, count(*) AS n FROM jsonb_array_elements(d.items) e) s GROUP BY s.n'),
('own_nested', 'SELECT q.id, q.k, s.n FROM (SELECT d.id, d.n, k.* FROM docs d, LATERAL (VALUES (d.n), (d.id)) k(k)) q, LATERAL (SELECT count(*) AS n FROM generate_series(1, q.k) g WHERE g > q.n) s'),
('own_of_join', 'SELECT id, s.both_n FROM docs a JOIN docs b USING (id, at), LATERAL (SELECT sum(x) AS both_n FROM (VALUES (a.n), (b.n), (id)) v(x)) s'),
('united_own', 'SELECT d.id, t FROM docs d, unnest(d.tags) t UNION ALL SELECT d.id, s.v FROM docs d, LATERAL (SELECT d.txt AS v) s'),
('sub_scalar', 'SELECT id, (SELECT sum((e->>''qty'')::int) FROM jsonb_array_elements(items) e) AS qty, ARRAY(SELECT t || ''!'' FROM unnest(tags) t ORDER BY t DESC) AS loud, (SELECT n + 1) AS next FROM docs WHERE EXISTS (SELECT FROM unnest(tags) t WHERE t = ''c,c'') OR id = 1'),
('sub_any', 'SELECT d.id, d.n IN (SELECT (e->>''qty'')::int FROM jsonb_array_elements(d.items) e) AS a, d.n > ALL (SELECT g FROM generate_series(0, d.id - 5) g) AS b, CASE WHEN d.items IS NULL THEN (SELECT 1 / (d.id - d.id)) WHEN false THEN 2 END IS NULL AS c FROM docs d WHERE d.items IS NOT NULL'),
('sub_join', 'SELECT a.id, b.id AS other, (SELECT string_agg(t, ''+'' ORDER BY t) FROM unnest(a.tags || b.tags) t) AS tags FROM docs a JOIN docs b ON b.n = a.n AND b.at BETWEEN a.at AND a.at + interval ''5 hours'' AND (SELECT count(*) FROM unnest(a.tags) t WHERE t = ANY (b.tags)) > 1'),
('sub_groups', 'SELECT (SELECT max(t) FROM unnest(tags) t) AS top, count(*) AS n, sum((SELECT count(*) FROM unnest(tags) t WHERE t > ''a'')) AS total FROM docs GROUP BY 1 HAVING bool_or((SELECT true)) AND count(*) > 1'),
('sub_in_subquery', 'SELECT q.id, q.c, q.deep FROM (SELECT id, (SELECT count(*) FROM unnest(tags)) AS c, (SELECT max(x) FROM (SELECT (SELECT sum(y) FROM unnest(ARRAY[x, n]) y) AS x FROM generate_series(1, n) x) z) AS deep FROM docs) q WHERE (SELECT q.c > 1)'),
('sub_label', 'SELECT d.id, l.label FROM docs d JOIN lts l ON l.lt = (SELECT v FROM (VALUES (d.lt)) x(v))'),
('sub_function', 'SELECT d.id, word FROM docs d, unnest(ARRAY(SELECT t || d.id FROM unnest(d.tags) t)) word'),
-- expressions
('cases', 'SELECT id, CASE n WHEN 0 THEN ''none'' WHEN 1 THEN ''one'' ELSE n::text END AS a, CASE WHEN n > 1 AND txt LIKE ''%1%'' THEN n END AS b, coalesce(n, -1) AS c, nullif(n, 2) AS d, greatest(n, 2) AS e FROM docs'),
('operators', 'SELECT id, n IN (1, 3) AS a, n = ANY (ARRAY[1, 2]) AS b, n BETWEEN 1 AND 2 AS c, n IS DISTINCT FROM 1 AS d, (n, id) < (2, 5) AS e, txt ~* ''FOX'' AS f, NOT (n > 1) AS g, txt COLLATE "C" < ''Z'' AS h, n IS NULL AS i, (n > 1) IS NOT TRUE AS j FROM docs'),
('subscripts', 'SELECT id, tags[2] AS a, tags[2:3] AS b, matrix[1][2] AS c, attrs[''deep''][''a''][0] AS d, (addr)."No" AS e, (addrs[1]).street AS f, ARRAY[n, id] AS g, ROW(''s'', n, NULL)::address AS h, array_append(tags, ''z'') AS i FROM docs'),
('casts', 'SELECT id, n::text AS a, n::text::numeric(5,1) AS b, (id || '' days'')::interval AS c, txt::varchar(5) AS d, items::text AS e, n::bool AS f, mood::text AS g, substr(txt, 1, 9)::bytea AS h, addr::text AS i, ints::text AS j, tags::text AS k, ''2024-01-01''::date + n AS l FROM docs'),
('sql_function', 'SELECT id, forms.gross(price) AS gross, forms.label(n, prefix => ''#'') AS label, forms.longest(VARIADIC tags) AS longest, n OPERATOR(forms.+!) id AS odd FROM docs'),
('function_groups', 'SELECT forms.bucket(id) AS bucket, count(*) AS n, sum(forms.gross(price)) AS total FROM docs GROUP BY forms.bucket(id)'),
-- forms in which an operator is not named: that of an extension's type must stay its own
('unnamed_operators', 'SELECT id, ct IS DISTINCT FROM ''Abc'' AS a, CASE ct WHEN ''aBC'' THEN 1 ELSE 2 END AS b, nullif(ct, ''ABc'') AS c, ct IN (''ABc'', ''x'') AS d, (ct, id) = (''AbC'', 2) AS e, (ct, n) IS NOT DISTINCT FROM (''abC''::citext, 2) AS f, lt IS NOT DISTINCT FROM NULL AS g, CASE WHEN ct IS DISTINCT FROM nullif(ct, ''Abc'') THEN ''none'' END AS h FROM docs'),
('unnamed_subquery', 'SELECT d.id, s.* FROM docs d, LATERAL (SELECT count(*) FILTER (WHERE c IS DISTINCT FROM ''AbC'') AS n FROM unnest(ARRAY[d.ct, NULL, ''x'']) c) s'),
-- types as they are
('builtin_types', 'SELECT id, tod, ttz, iv, ip, net, mac, money, bits, vbits, pt, bx, xm, tsv, tsq, ch, nm, c5, v3, r, d, big, bin, u, o, jp, lsn FROM docs'),
('own_types', 'SELECT id, mood, moods, price, list, addr, addrs, home FROM docs'),
('ranges', 'SELECT id, span, ints, many, days, lower(span) AS low, many * int4multirange(ints) AS both_of, range_merge(many) AS merged FROM docs'),
('extension_types', 'SELECT id, ct, hs, lt, cu, sg, lts, ct = ''abc'' AS same, hs->''a'' AS a, lt <@ ''top.n1'' AS below, cube_dim(cu) AS dim, sg && ''2'' AS overlaps FROM docs'),
('json_types', 'SELECT id, items, raw, jsonb_build_object(''id'', id, ''tags'', tags, ''addr'', addr) AS made, to_jsonb(span) AS span, row_to_json(addr) AS addr FROM docs'),
-- and as keys
('by_enum', 'SELECT mood, count(*) AS n FROM docs GROUP BY mood'),
('by_domain', 'SELECT price, count(*) AS n FROM docs GROUP BY price'),
('by_composite', 'SELECT addr, count(*) AS n FROM docs GROUP BY addr'),
('by_array', 'SELECT tags, moods, count(*) AS n FROM docs GROUP BY tags, moods'),
('by_range', 'SELECT span, many, count(*) AS n FROM docs GROUP BY span, many'),
('by_citext', 'SELECT lower(ct)::citext AS ct, count(*) AS n FROM docs GROUP BY 1'),
('by_hstore', 'SELECT hs, lt, count(*) AS n FROM docs GROUP BY hs, lt'),
('by_cube', 'SELECT cu, sg, count(*) AS n FROM docs GROUP BY cu, sg'),
('by_jsonb', 'SELECT attrs->''color'' AS color, count(*) AS n FROM docs GROUP BY 1'),
('by_times', 'SELECT tod, iv, ttz, ip, u, bin, count(*) AS n FROM docs GROUP BY tod, iv, ttz, ip, u, bin'),
-- joins by them, of streams and with tables
('join_citext', 'SELECT a.id, b.id AS other, a.ct FROM docs a JOIN docs b ON b.ct = a.ct AND b.at BETWEEN a.at AND a.at + interval ''90 minutes'''),
('join_using', 'SELECT id, x.at, y.id AS other FROM (SELECT id, ct, lt, at FROM docs) x JOIN (SELECT ct, lt, at, id FROM docs) y USING (ct, lt, at, id)'),
('join_many', 'SELECT a.id, b.id AS other FROM docs a JOIN docs b ON b.lt = a.lt AND b.hs = a.hs AND b.cu = a.cu AND b.many = a.many AND b.addr = a.addr AND b.mood = a.mood AND b.at BETWEEN a.at AND a.at + interval ''5 hours'''),
('join_range', 'SELECT a.id, b.id AS other FROM docs a JOIN docs b ON b.span = a.span AND b.sg = a.sg AND b.at BETWEEN a.at AND a.at + interval ''5 hours'''),
('join_element', 'SELECT a.id, b.id AS other, t FROM docs a CROSS JOIN LATERAL unnest(a.tags) t JOIN docs b ON b.n = a.n AND b.at BETWEEN a.at AND a.at + interval ''9 hours'' AND b.tags[1] = t'),
('label_ltree', 'SELECT d.id, l.label, l.mood FROM docs d JOIN lts l ON l.lt = d.lt'),
('label_left', 'SELECT d.id, l.label FROM docs d LEFT JOIN lts l USING (lt)'),
('label_many', 'SELECT d.id, k.price FROM docs d JOIN keys k ON (k.addr, k.mood, k.hs) = (d.addr, d.mood, d.hs)'),
('label_element', 'SELECT d.id, v.k, l.label FROM docs d CROSS JOIN LATERAL (VALUES (''top.n1.leaf''::ltree), (d.lt)) v(k) JOIN lts l ON l.lt = v.k'),
-- over a table
('table_words', 'SELECT l.lt, w.word, w.place FROM lts l, regexp_split_to_table(l.label, '' '') WITH ORDINALITY w(word, place)'),
('table_own', 'SELECT l.lt, l.mood, s.n, v.x FROM lts l CROSS JOIN LATERAL (SELECT count(*) AS n FROM regexp_split_to_table(l.label, '''') c WHERE c <> ''l'') s, LATERAL (VALUES (l.label || ''!'')) v(x)'),
('table_by_extension', 'SELECT k.addr, k.mood, k.hs, l.lt, l.label FROM keys k JOIN lts l ON l.mood = k.mood AND l.label <> ''label 1'''),
-- functions that follow settings
('local_times', 'SELECT id, at::date AS a, at::text AS b, date_trunc(''day'', at) AS c, extract(hour FROM at) AS d, to_char(at, ''DD.MM HH24 TMMonth'') AS e, iv::text AS f, (at - interval ''1 mon'')::timestamp AS g, ''01.02.2024''::text::date AS h FROM docs'),
('local_texts', 'SELECT id, bin::text AS a, format(''%I'', coalesce(txt, ''none'')) AS b, (''x'' || id || ''<y/>'')::xml AS c, (''{1,NULL,'' || id || ''}'')::int[] AS d, d::text AS e, quote_ident(''id'' || id) AS f, n::money AS g, format(''%s'', at) AS h, to_jsonb(at) AS i, jsonb_build_object(''at'', at, ''iv'', iv) AS j FROM docs'),
('by_local_day', 'SELECT at::date AS day, count(*) AS n FROM docs GROUP BY 1'),
('search', 'SELECT id, to_tsvector(txt) AS a, to_tsvector(txt) @@ to_tsquery(''fox & quick'') AS b, ts_rank(to_tsvector(txt), plainto_tsquery(''brown fox'')) AS c, ts_headline(txt, to_tsquery(''fox'')) AS d, to_tsvector(''german'', txt) AS e, txt @@ ''foxes'' AS f FROM docs');

CREATE FUNCTION parts_of(items jsonb) RETURNS TABLE (sku text, value numeric) LANGUAGE sql IMMUTABLE AS $$
	SELECT e->>'sku', (e->>'qty')::int * (e->>'price')::numeric FROM jsonb_array_elements(items) e $$;
CREATE FUNCTION count_down(n int) RETURNS SETOF int LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
	FOR i IN REVERSE n .. 1 LOOP RETURN NEXT i; END LOOP;
END $$;
CREATE FUNCTION gross(net numeric) RETURNS numeric IMMUTABLE LANGUAGE sql RETURN round(net * 1.19, 2);
CREATE FUNCTION label(n int, prefix text DEFAULT '*') RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN prefix || n; END $$;
CREATE FUNCTION longest(VARIADIC words text[]) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT max(w) FROM unnest(words) w $$;
CREATE FUNCTION bucket(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN n / 10; END $$;
CREATE FUNCTION odd_sum(a int, b int) RETURNS bool LANGUAGE sql IMMUTABLE RETURN (a + b) % 2 = 1;
CREATE OPERATOR +! (FUNCTION = odd_sum, LEFTARG = int, RIGHTARG = int);

-- all in one pipeline, each with a sink; where nothing is grouped a view that stores nothing, too
CREATE FUNCTION make_form(name text, query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM kafka_test.create_topic('forms_' || name, 1);
	PERFORM kafka.create_view(name, query, '{"pipeline": "forms"}');
	PERFORM kafka.create_sink(name::regclass, 'forms_' || name);
	IF query ~ 'GROUP BY' THEN	-- a null key is one in JSON only
		EXECUTE format('ALTER FOREIGN TABLE %I OPTIONS (ADD key_format ''json'')', 'forms_' || name);
	END IF;
	IF query !~ 'GROUP BY|FROM (lts|keys)' THEN
		PERFORM kafka_test.create_topic('forms_' || name || '_u', 1);
		PERFORM kafka.create_view(name || '_u', query, '{"pipeline": "forms", "stored": false}');
		PERFORM kafka.create_sink((name || '_u')::regclass, 'forms_' || name || '_u');
	END IF;
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	RETURN name || ': ' || SQLERRM;
END $$;
BEGIN;
SELECT fail(failed) FROM (SELECT make_form(name, query) AS failed FROM form) f WHERE failed IS NOT NULL;
COMMIT;

SELECT ok(kafka.wait_for_view('elements', '60s'), 'all forms are caught up');
SELECT kafka_test.run('kv_kafka settle ' || string_agg('forms_' || c.relname, ' ')) FROM kafka.views v JOIN pg_class c ON c.oid = v.view \g /dev/null
SELECT is((SELECT string_agg(format('%s: %s', view, message), E'\n') FROM kafka.dead_letters), NULL, 'no record is a dead letter');

-- the topic as SELECT reads it, once: the queries mean this where copies comes first in the search_path
CREATE SCHEMA copies;
CREATE TABLE copies.docs AS SELECT * FROM docs;
CREATE TABLE copies.lts AS SELECT * FROM lts;
CREATE TABLE copies.keys AS SELECT * FROM keys;
SELECT is((SELECT count(*)::int FROM copies.docs), 30, 'SELECT reads every record');
CREATE FUNCTION rows_differ(a text, b text) RETURNS SETOF text LANGUAGE plpgsql SET search_path = copies, forms, contrib, public AS $$
BEGIN
	RETURN QUERY EXECUTE format($q$
		WITH a AS MATERIALIZED (SELECT whole_row::text AS r FROM (%s) whole_row), b AS MATERIALIZED (SELECT whole_row::text AS r FROM (%s) whole_row)
		(SELECT '- ' || r FROM (SELECT r FROM a EXCEPT ALL SELECT r FROM b) d LIMIT 3)
		UNION ALL (SELECT '+ ' || r FROM (SELECT r FROM b EXCEPT ALL SELECT r FROM a) d LIMIT 3)
		UNION ALL SELECT 'no rows' WHERE NOT EXISTS (SELECT FROM a)$q$, a, b);
END $$;
SELECT is((SELECT string_agg(r, E'\n') FROM rows_differ(f.query, 'SELECT * FROM ' || f.name) r), NULL, f.name || ' equals its query') FROM form f WHERE to_regclass(name) IS NOT NULL;
SELECT is((SELECT string_agg(r, E'\n') FROM rows_differ('SELECT * FROM ' || f.name, 'SELECT * FROM forms_' || f.name) r), NULL, f.name || ' is read from its sink as it is') FROM form f WHERE to_regclass(name) IS NOT NULL;
SELECT is((SELECT string_agg(r, E'\n') FROM rows_differ(f.query, 'SELECT * FROM forms_' || f.name || '_u') r), NULL, f.name || ' writes the same without storing it') FROM form f WHERE to_regclass(name || '_u') IS NOT NULL;

-- what a type does not take is a dead letter: as it is decoded, or as the view casts to it
SELECT kafka_test.create_topic('forms_odd', 1) \g /dev/null
CREATE FOREIGN TABLE odd (id int, at timestamptz, n int, price price, list short_list, home home, mood mood, lt ltree, ints int4range) SERVER broker OPTIONS (topic 'forms_odd');
CREATE MATERIALIZED VIEW odd_ones WITH (kafka.continuous) AS SELECT id, price, list, home, mood, lt, ints FROM odd;
CREATE MATERIALIZED VIEW odd_casts WITH (kafka.continuous) AS SELECT id, n::price AS price, ROW('x', n, NULL)::address::home AS home, (ARRAY['sad', 'mad'])[n]::mood AS mood, (CASE WHEN id = 10 THEN 'a b' END)::ltree AS lt FROM odd;
SELECT kafka_test.produce('forms_odd', $$VALUES (1, '{"id": 1, "n": 1, "price": 1, "list": [1], "home": {"No": 1}, "mood": "sad", "lt": "a", "ints": "[1,2)"}'), (2, '{"id": 2, "n": 1, "price": 0}'),
	(3, '{"id": 3, "n": 1, "list": [1,2,3,4,5]}'), (4, '{"id": 4, "n": 1, "home": {"No": 0}}'), (5, '{"id": 5, "n": 1, "mood": "mad"}'), (6, '{"id": 6, "n": 1, "lt": "a b"}'),
	(7, '{"id": 7, "n": 1, "ints": {"start": 2, "end": 1}}'), (8, '{"id": 8, "n": 2}'), (9, '{"id": 9, "n": 0}'), (10, '{"id": 10, "n": 1, "ints": {"end": null}}')$$) \g /dev/null
SELECT ok(kafka.wait_for_view('odd_casts', '60s') AND kafka.wait_for_view('odd_ones', '60s'), 'values that a type does not take stop nothing');
SELECT results_eq('SELECT id FROM odd_casts ORDER BY id', 'SELECT unnest(ARRAY[1, 2, 3, 4, 5, 6, 7])', 'where they are not read they do not matter; where they are made, the others are there');
SELECT bag_eq($$SELECT convert_from(key, 'UTF8'), view::text, sqlstate FROM kafka.dead_letters WHERE view = 'odd_casts'::regclass$$, $$VALUES ('8', 'odd_casts', '22P02'), ('9', 'odd_casts', '23514'), ('10', 'odd_casts', '42601')$$,
	'what the view makes is its dead letter');
SELECT bag_eq($$SELECT convert_from(key, 'UTF8') || ' ' || sqlstate FROM kafka.dead_letters WHERE view IS NULL$$, $$VALUES ('2 23514'), ('3 23514'), ('4 23514'), ('5 22P02'), ('6 42601'), ('7 22000')$$,
	'what cannot be decoded is one of the topic''s');
SELECT * FROM finish();

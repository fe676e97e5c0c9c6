-- The maintenance statements of views whose windows close: which rows are late, by each kind of window and each way rows come.
-- Nothing is committed, so nothing starts.
CREATE SCHEMA view_explain_windows;
SET search_path = view_explain_windows, public;
SET timezone = 'UTC';
CREATE SERVER view_explain_windows FOREIGN DATA WRAPPER kafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE FOREIGN TABLE clicks (page text, took int, at timestamptz) SERVER view_explain_windows OPTIONS (topic 'clicks', event_time 'at');
CREATE FOREIGN TABLE views (page text, seen_at timestamptz) SERVER view_explain_windows OPTIONS (topic 'views', event_time 'seen_at');
CREATE FOREIGN TABLE local_clicks (page text, at timestamp) SERVER view_explain_windows OPTIONS (topic 'local-clicks', event_time 'at');
CREATE FOREIGN TABLE pages (page text OPTIONS (key 'true'), title text) SERVER view_explain_windows OPTIONS (topic 'pages', mode 'upsert');
-- numbers of views differ from run to run
CREATE FUNCTION explained(view regclass) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format(E'-- %s: %s\n%s\n', phase, title, regexp_replace(statement, '(buffer|lookup|groups|session_rows)_\d+', '\1_N', 'g')) FROM kafka.explain(view)
$$;
-- when a row is late, of a view with one stream
CREATE FUNCTION late_when(query text, options jsonb DEFAULT '{"grace": "5 s"}') RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM kafka.create_view('late_when', query, options);
	RETURN QUERY SELECT split_part(rtrim(split_part(statement, 'WHERE ', 2), ' late'), ') AS', 1) FROM kafka.explain('late_when') WHERE phase = 'late';
	DROP MATERIALIZED VIEW late_when;
END $$;
\pset format unaligned
\pset tuples_only on

BEGIN;
-- a group that is its own state
CREATE MATERIALIZED VIEW per_minute WITH (kafka.continuous, kafka.grace = '5 s') AS
SELECT page, kafka.tumble(at, '1 minute') AS minute, count(*) AS n FROM clicks GROUP BY page, minute;
SELECT explained('per_minute');

-- the kinds of windows
SELECT late_when($$SELECT kafka.tumble(at, '1 minute') AS w, count(*) FROM clicks GROUP BY w$$);
SELECT late_when($$SELECT w, count(*) FROM clicks, LATERAL kafka.hop(at, '1 minute', '20 s') AS w GROUP BY w$$);
SELECT late_when($$SELECT upper(w) AS until, count(*) FROM clicks, LATERAL kafka.hop(at, '1 minute', '20 s') AS w GROUP BY until$$);
SELECT late_when($$SELECT lower(kafka.tumble(at, '1 minute')) AS since, count(*) FROM clicks GROUP BY since$$);
SELECT late_when($$SELECT lower(w) AS since, upper(w) AS until, count(*) FROM (SELECT *, kafka.tumble(at, '1 minute') AS w FROM clicks) c GROUP BY since, until$$);
SELECT late_when($$SELECT date_bin('15 min', at, '2000-01-01') AS since, count(*) FROM clicks GROUP BY since$$);
SELECT late_when($$SELECT date_trunc('hours', at) AS hour, count(*) FROM clicks GROUP BY hour$$);
SELECT late_when($$SELECT date_trunc('day', at) AS day, count(*) FROM clicks GROUP BY day$$);
SELECT late_when($$SELECT date_trunc('Week', at, 'Europe/Berlin') AS week, count(*) FROM clicks GROUP BY week$$);
SELECT late_when($$SELECT date_trunc('quarter', at AT TIME ZONE 'Europe/Berlin') AS quarter, count(*) FROM clicks GROUP BY quarter$$);
SELECT late_when($$SELECT date_bin('1 day', at AT TIME ZONE 'Europe/Berlin', '2000-01-01') AS day, count(*) FROM clicks GROUP BY day$$);
SELECT late_when($$SELECT date_trunc('month', at) AS month, count(*) FROM local_clicks GROUP BY month$$);
SELECT late_when($$SELECT kafka.tumble(at AT TIME ZONE 'utc', '1 s') AS second, count(*) FROM local_clicks GROUP BY second$$);
-- grace may be zero; SELECT DISTINCT groups too
SELECT late_when($$SELECT kafka.tumble(at, '1 minute') AS w, count(*) FROM clicks GROUP BY w$$, '{"grace": "0"}');
SELECT late_when($$SELECT DISTINCT kafka.tumble(at, '1 minute') AS w, page FROM clicks$$);

-- a table that is looked up; a condition of the stream
CREATE MATERIALIZED VIEW per_title WITH (kafka.continuous, kafka.grace = '1 h') AS
SELECT p.title, kafka.tumble(c.at, '1 h') AS hour, avg(c.took) AS took FROM clicks c JOIN pages p USING (page) WHERE c.took > 0 GROUP BY 1, 2;
SELECT explained('per_title');

-- streams united, which have partitions; joined ones have none, and lag behind
CREATE MATERIALIZED VIEW of_both WITH (kafka.continuous, kafka.grace = '10 s') AS
SELECT w, count(*) AS n FROM (SELECT at FROM clicks UNION ALL SELECT seen_at FROM views) u, kafka.hop(u.at, '1 h', '30 min') AS w GROUP BY w;
SELECT explained('of_both');
CREATE MATERIALIZED VIEW clicked WITH (kafka.continuous, kafka.grace = '10 s') AS
SELECT kafka.tumble(v.seen_at, '1 h') AS hour, count(*) AS kv_late FROM views v JOIN clicks c ON c.page = v.page
	AND c.at BETWEEN v.seen_at AND v.seen_at + interval '10 min' GROUP BY hour;
SELECT explained('clicked');
-- the later of both times is never behind
CREATE MATERIALIZED VIEW clicked_at WITH (kafka.continuous, kafka.grace = '10 s') AS
SELECT kafka.tumble(greatest(v.seen_at, c.at), '1 h') AS hour, count(*) AS n FROM views v JOIN clicks c ON c.page = v.page
	AND c.at BETWEEN v.seen_at AND v.seen_at + interval '10 min' GROUP BY hour;
SELECT substring(statement FROM '\n *(\S[^\n]*) AS kv_late') FROM kafka.explain('clicked_at') WHERE title ~ '^join';
-- a view over a view
CREATE MATERIALIZED VIEW slow WITH (kafka.continuous) AS SELECT page, at FROM clicks WHERE took > 1000;
CREATE MATERIALIZED VIEW slow_minutes WITH (kafka.continuous, kafka.grace = '10 s') AS SELECT date_trunc('minute', at) AS minute, count(*) AS n FROM slow GROUP BY minute;
SELECT explained('slow_minutes');
-- grace of a join alone closes nothing; nor does a window without an option that asks for it
CREATE MATERIALIZED VIEW pairs WITH (kafka.continuous, kafka.grace = '10 s') AS
SELECT v.page, count(*) AS n FROM views v JOIN clicks c ON c.page = v.page AND c.at BETWEEN v.seen_at AND v.seen_at + interval '10 min' GROUP BY v.page;
CREATE MATERIALIZED VIEW hours WITH (kafka.continuous) AS
SELECT kafka.tumble(v.seen_at, '1 h') AS hour, count(*) AS n FROM views v JOIN clicks c ON c.page = v.page AND c.at BETWEEN v.seen_at AND v.seen_at + interval '10 min' GROUP BY hour;
SELECT v, phase, title FROM unnest('{pairs,hours}'::regclass[]) v, kafka.explain(v) WHERE phase = 'late';

-- emit = final: groups are in the companion until their window has closed, which an index on the window tells
CREATE FUNCTION indexes(view regclass) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT regexp_replace(pg_get_indexdef(i.indexrelid), '(groups)_\d+', '\1_N', 'g') FROM kafka_state.view v
	JOIN pg_index i ON i.indrelid = ('kafka_state.groups_' || v.view)::regclass WHERE v.relation = $1 ORDER BY 1
$$;
CREATE MATERIALIZED VIEW final_minutes WITH (kafka.continuous, kafka.emit = 'final', kafka.grace = '5 s') AS
SELECT page, kafka.tumble(at, '1 minute') AS minute, upper(kafka.tumble(at, '1 minute')) AS until, sum(took) / count(took) AS took
FROM clicks GROUP BY page, minute HAVING count(*) > 1;
SELECT explained('final_minutes');
SELECT indexes('final_minutes');
CREATE MATERIALIZED VIEW final_days WITH (kafka.continuous, kafka.emit = 'final') AS
SELECT page, date_trunc('day', at, 'Europe/Berlin') AS day, count(*) AS n FROM clicks GROUP BY page, day;
SELECT explained('final_days');
SELECT indexes('final_days');
CREATE MATERIALIZED VIEW final_bins WITH (kafka.continuous, kafka.emit = 'final', kafka.event_time = 'bin') AS
SELECT date_bin('10 min', at, '2000-01-01') AS bin, page, count(*) AS n FROM clicks GROUP BY bin, page;
SELECT indexes('final_bins');
CREATE MATERIALIZED VIEW final_local WITH (kafka.continuous, kafka.emit = 'final') AS
SELECT date_bin('12 hours', at AT TIME ZONE 'Europe/Berlin', '2000-01-01') AS half_day, count(*) AS n FROM clicks GROUP BY half_day;
SELECT regexp_replace(statement, '_\d+', '_N') FROM kafka.explain('final_local') WHERE phase = 'close' AND statement ~ '^DELETE';
CREATE MATERIALIZED VIEW final_months WITH (kafka.continuous, kafka.emit = 'final') AS
SELECT date_trunc('month', at AT TIME ZONE 'Europe/Berlin') AS month, count(*) AS n FROM clicks GROUP BY month;
SELECT regexp_replace(statement, '_\d+', '_N') FROM kafka.explain('final_months') WHERE phase = 'close' AND statement ~ '^DELETE';
-- over a join; and read by a view, for which it is a stream
CREATE MATERIALIZED VIEW final_clicked WITH (kafka.continuous, kafka.emit = 'final', kafka.grace = '10 s') AS
SELECT kafka.tumble(v.seen_at, '1 h') AS hour, count(*) AS n FROM views v JOIN clicks c ON c.page = v.page
	AND c.at BETWEEN v.seen_at AND v.seen_at + interval '10 min' GROUP BY hour;
SELECT e FROM explained('final_clicked') e WHERE e ~ '^-- close';
CREATE MATERIALIZED VIEW busy_hours WITH (kafka.continuous, kafka.grace = '0') AS
SELECT date_trunc('hour', until) AS hour, max(took) AS took FROM final_minutes GROUP BY hour;
SELECT explained('busy_hours');
CREATE MATERIALIZED VIEW busy_bins WITH (kafka.continuous) AS SELECT * FROM final_bins WHERE n > 10;
SELECT explained('busy_bins');

-- retention: by the end of the window, of final results too; and by the event time of rows that are only added
CREATE FUNCTION result_indexes(view regclass) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT regexp_replace(pg_get_indexdef(indexrelid), 'view_explain_windows.', '') FROM pg_index WHERE indrelid = $1 ORDER BY 1
$$;
CREATE MATERIALIZED VIEW kept_minutes WITH (kafka.continuous, kafka.grace = '5 s', kafka.retention = '1 day') AS
SELECT page, kafka.tumble(at, '1 minute') AS minute, sum(took) / count(*) AS took FROM clicks GROUP BY page, minute;
SELECT explained('kept_minutes');
SELECT indexes('kept_minutes') UNION ALL SELECT result_indexes('kept_minutes');
CREATE MATERIALIZED VIEW kept_days WITH (kafka.continuous, kafka.retention = '30 days') AS
SELECT date_trunc('day', at) AS day, count(*) AS n FROM clicks GROUP BY day;
SELECT e FROM explained('kept_days') e WHERE e ~ '^-- close';
SELECT result_indexes('kept_days');
CREATE MATERIALIZED VIEW kept_final WITH (kafka.continuous, kafka.emit = 'final', kafka.grace = '5 s', kafka.retention = '1 hour') AS
SELECT kafka.tumble(at, '1 minute') AS minute, count(*) AS n FROM clicks GROUP BY minute;
SELECT e FROM explained('kept_final') e WHERE e ~ '^-- close';
CREATE MATERIALIZED VIEW kept_slow WITH (kafka.continuous, kafka.retention = '1 hour') AS
SELECT c.page, c.at, p.title FROM clicks c LEFT JOIN pages p USING (page) WHERE c.took > 1000;
SELECT explained('kept_slow');
SELECT result_indexes('kept_slow');
CREATE MATERIALIZED VIEW kept_local WITH (kafka.continuous, kafka.retention = '1 hour') AS SELECT page, at FROM local_clicks;
SELECT e FROM explained('kept_local') e WHERE e ~ '^-- (close|late)';
-- a time that may be null
CREATE MATERIALIZED VIEW kept_by_time WITH (kafka.continuous, kafka.retention = '1 hour', kafka.event_time = 'even') AS
SELECT page, CASE WHEN took % 2 = 0 THEN at END AS even FROM clicks;
SELECT explained('kept_by_time');
-- the rows of a join are not late: retention is longer than it looks back
CREATE MATERIALIZED VIEW kept_pairs WITH (kafka.continuous, kafka.grace = '10 s', kafka.retention = '610 s', kafka.event_time = 'seen_at') AS
SELECT v.page, v.seen_at, c.took FROM views v JOIN clicks c ON c.page = v.page AND c.at BETWEEN v.seen_at AND v.seen_at + interval '10 min';
SELECT e FROM explained('kept_pairs') e WHERE e ~ '^-- close';
-- of an outer join those that are late may be too old to be kept
CREATE MATERIALIZED VIEW kept_views WITH (kafka.continuous, kafka.grace = '10 s', kafka.retention = '2 h') AS
SELECT v.page, v.seen_at, c.took FROM views v LEFT JOIN clicks c ON c.page = v.page AND c.at BETWEEN v.seen_at AND v.seen_at + interval '10 min';
SELECT e FROM explained('kept_views') e WHERE e ~ '^-- close|without';

-- sessions: that never close, and that do
CREATE MATERIALIZED VIEW visits WITH (kafka.continuous) AS
SELECT page, kafka.session(at, '30 min') AS during, count(*) AS n, avg(took) AS took FROM clicks WHERE took > 0 GROUP BY page, during HAVING count(*) > 1;
SELECT explained('visits');
SELECT indexes('visits');
CREATE MATERIALIZED VIEW final_visits WITH (kafka.continuous, kafka.emit = 'final', kafka.grace = '5 min') AS
SELECT kafka.session(at, '30 min') AS during, count(*) AS n FROM clicks GROUP BY during;
SELECT explained('final_visits');
SELECT indexes('final_visits');
-- of states that cannot be merged
CREATE MATERIALIZED VIEW paths WITH (kafka.continuous, kafka.grace = '5 min') AS
SELECT page, kafka.session(at, '30 min') AS during, array_agg(took) AS took, count(DISTINCT took) AS different FROM clicks GROUP BY page, during HAVING count(DISTINCT took) > 1;
SELECT explained('paths');
CREATE MATERIALIZED VIEW slowest WITH (kafka.continuous, kafka.emit = 'final') AS
SELECT DISTINCT ON (page, kafka.session(at, '30 min')) page, kafka.session(at, '30 min') AS during, took FROM clicks ORDER BY page, kafka.session(at, '30 min'), at DESC;
SELECT e FROM explained('slowest') e WHERE e ~ 'from their rows|^-- close';
SELECT indexes('slowest');
ROLLBACK;
DROP SCHEMA view_explain_windows CASCADE;
DROP SERVER view_explain_windows;

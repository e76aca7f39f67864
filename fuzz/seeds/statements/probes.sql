-- Every statement on probes once.
CREATE OR REPLACE PROBE "Odd ""name" ON NODES WHERE node = 'a' WITH (retention = '7 days', max_bytes = '1GB', run_for = '1 hour') AS
  SELECT time, pid, -- who; none
    user_string(args.filename) AS path, -- which file; bytes
    next->real_parent->tgid + 1 AS parent
  FROM tracepoint.syscalls.sys_enter_openat TABLESAMPLE (5 PERCENT) WHERE comm LIKE 'a%' AND (flags & 3) = 0;
CREATE PROBE IF NOT EXISTS w AS SELECT time_bucket('10 seconds', time) AS time, count(*) FILTER (WHERE x > 1) AS n
  FROM tp_btf.sched_switch GROUP BY 1 HAVING count(*) > 1 ORDER BY n DESC LIMIT 3;
ALTER PROBE w AS SELECT pid FROM tracepoint.sys_enter_getppid; ALTER PROBE w SET (max_cpu_percent = 5, run_for = '1 s');
ALTER PROBE w ENABLE; ALTER PROBE w DISABLE; ALTER PROBE w RENAME TO v;
DROP PROBE IF EXISTS v WITH DATA; COMMENT ON PROBE v IS 'E''s'; COMMENT ON PROBE v IS NULL;
EXPLAIN ANALYZE CREATE PROBE x AS SELECT * FROM tp_btf.sched_switch; EXPLAIN VERBOSE PROBE x; EXPLAIN PROBE x;
SHOW PROBES; SHOW HOOKS LIKE '%tcp%'; SHOW CREATE PROBE x; SHOW COLUMNS FROM tp_btf.sched_switch

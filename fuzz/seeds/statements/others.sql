-- What is not ours goes to the engine: texts, comments and literals of every kind.
SELECT $$a;b$$, $x$ c $x$, E'\n\x41', U&'\0041', 'it''s', "ä" FROM t /* a /* nested */ comment */ WHERE a::int = -1e9 AND b ->> 'c' = '[1]';
COPY (SELECT * FROM tracepoint.sched_process_exec) TO STDOUT; BEGIN; SET x TO 'y'; COMMIT;
SELECT a.pid FROM tracepoint.sys_enter_read a JOIN tracepoint.sys_exit_read b ON a.tid = b.tid;

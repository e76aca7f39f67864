-- What did each command cost: time, processors, memory?
-- Cost: ten minutes of process_exec and process_exit, joined by process; the probe is on from the start.
SELECT began.time, began.cmdline, ended.lifetime_ns / 1e6 AS lifetime_ms,
       (ended.user_ns + ended.system_ns) / 1e6 AS cpu_ms, ended.max_rss_bytes / 1048576 AS max_rss_mib, ended.exit_code
FROM process_exec AS began
JOIN process_exit AS ended ON ended.upid = began.upid
WHERE began.time > now() - interval '10 minutes'
ORDER BY ended.user_ns + ended.system_ns DESC
LIMIT 20;

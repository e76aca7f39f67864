-- Which programs took most of the processors, of those that ended?
-- Cost: an hour of process_exit, four columns; the probe is on from the start.
SELECT exe, count(*) AS processes,
       sum(user_ns + system_ns) / 1e9 AS cpu_s,
       100.0 * sum(system_ns) / nullif(sum(user_ns + system_ns), 0) AS kernel_percent
FROM process_exit
WHERE time > now() - interval '1 hour'
GROUP BY exe
ORDER BY cpu_s DESC
LIMIT 20;

-- How much processor time do programs take, typically and at worst?
-- Cost: a day of process_exit, two columns; the probe is on from the start.
SELECT comm, count(*) AS exits, approx_percentile(user_ns, 0.5) / 1e6 AS half_ms, approx_percentile(user_ns, 0.99) / 1e6 AS p99_ms,
       last(exit_code, time) AS last_exit_code
FROM process_exit
WHERE time > now() - interval '1 day'
GROUP BY comm
ORDER BY p99_ms DESC
LIMIT 20;

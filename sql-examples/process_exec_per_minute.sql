-- How many programs start in a minute?
-- Cost: an hour of process_exec, the time alone; the probe is on from the start.
SELECT time_bucket_gapfill('1 minute', time) AS minute, coalesce(count(*), 0) AS executions
FROM process_exec
WHERE time > now() - interval '1 hour' AND time <= now()
GROUP BY minute
ORDER BY minute;

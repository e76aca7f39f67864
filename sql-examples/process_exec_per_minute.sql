-- How many programs start in a minute?
-- Cost: an hour of process_exec; the probe is on from the start.
SELECT time_bucket('1 minute', time) AS minute, count(*) AS executions
FROM process_exec
WHERE time > now() - interval '1 hour'
GROUP BY minute
ORDER BY minute;

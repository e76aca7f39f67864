-- Do more processes fail than before, minute by minute?
-- Cost: an hour of process_exit, three columns; the probe is on from the start.
SELECT time_bucket('1 minute', time) AS minute,
       count(*) AS ended,
       count(*) FILTER (WHERE exit_code <> 0 OR exit_signal IS NOT NULL) AS failed,
       100.0 * count(*) FILTER (WHERE exit_code <> 0 OR exit_signal IS NOT NULL) / count(*) AS failed_percent
FROM process_exit
WHERE time > now() - interval '1 hour'
GROUP BY 1
ORDER BY 1;

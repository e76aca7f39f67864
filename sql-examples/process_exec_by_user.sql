-- Which users run what?
-- Cost: a day of process_exec, three columns; the probe is on from the start.
SELECT uid, exe, count(*) AS executions, max(time) AS last_time
FROM process_exec
WHERE time > now() - interval '1 day'
GROUP BY uid, exe
ORDER BY executions DESC
LIMIT 30;

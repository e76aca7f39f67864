-- Which programs ran for the first time in the last hour?
-- Cost: two columns of process_exec, all that is kept; the probe is on from the start.
SELECT exe, min(time) AS first_seen, count(*) AS executions
FROM process_exec
GROUP BY exe
HAVING min(time) > now() - interval '1 hour'
ORDER BY first_seen DESC
LIMIT 50;

-- Which containers start the most processes?
-- Cost: an hour of process_exec; the probe is on from the start.
SELECT container_id, count(*) AS executions
FROM process_exec
WHERE time > now() - interval '1 hour'
GROUP BY container_id
ORDER BY executions DESC
LIMIT 20;

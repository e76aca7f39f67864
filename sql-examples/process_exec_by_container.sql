-- Which containers start the most processes?
SELECT container_id, count(*) AS executions
FROM process_exec
WHERE time > now() - interval '1 hour'
GROUP BY container_id
ORDER BY executions DESC
LIMIT 20;

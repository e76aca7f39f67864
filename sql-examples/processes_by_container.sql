-- What runs here now, container by container?
-- Cost: the processes the node knows, in memory; no probe is asked.
SELECT coalesce(container_id, 'host') AS container, count(*) AS processes, string_agg(DISTINCT comm, ', ') AS programs
FROM system.processes
WHERE exited IS NULL
GROUP BY 1
ORDER BY processes DESC;

-- Which processes fault most? (ALTER PROBE page_fault ENABLE)
SELECT pid, comm, sum(events) AS faults, sum(writes) AS writes
FROM page_fault
GROUP BY 1, 2
ORDER BY faults DESC
LIMIT 20;

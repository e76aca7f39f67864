-- Which processes fault most?
-- Cost: all that is kept of page_fault; needs ALTER PROBE page_fault ENABLE, whose notice says what that costs.
SELECT pid, comm, sum(events) AS faults, sum(writes) AS writes
FROM page_fault
GROUP BY 1, 2
ORDER BY faults DESC
LIMIT 20;

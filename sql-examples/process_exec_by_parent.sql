-- What do programs start, and how often?
-- Cost: an hour of process_exec, twice, joined by process; the probe is on from the start.
SELECT parent.exe AS parent, child.exe AS child, count(*) AS executions
FROM process_exec AS child
JOIN system.processes AS parent ON parent.pid = child.ppid
WHERE child.time > now() - interval '1 hour'
GROUP BY parent.exe, child.exe
ORDER BY executions DESC
LIMIT 20;

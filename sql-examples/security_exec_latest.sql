-- Who started programs that give rights, or that have no file on a disk?
-- Cost: a day of security_exec, eight columns of few rows; the probe is on from the start.
SELECT time, CASE WHEN gains_rights THEN 'gains rights' ELSE 'no name' END AS why,
       uid, effective_uid, filename, cmdline, ppid, container_id
FROM security_exec
WHERE time > now() - interval '1 day'
ORDER BY time DESC
LIMIT 50;

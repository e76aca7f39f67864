-- Which programs ran from places that everybody may write to?
-- Cost: a day of process_exec, six columns; the probe is on from the start.
SELECT time, filename, cmdline, uid, comm, container_id
FROM process_exec
WHERE time > now() - interval '1 day'
  AND (filename LIKE '/tmp/%' OR filename LIKE '/var/tmp/%' OR filename LIKE '/dev/shm/%')
ORDER BY time DESC
LIMIT 50;

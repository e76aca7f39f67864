-- What was started last, by whom, with which arguments?
-- Cost: the newest rows of process_exec; the probe is on from the start.
SELECT time, comm, filename, cmdline
FROM process_exec
ORDER BY time DESC
LIMIT 20;

-- Who killed whom?
-- Cost: the newest rows of signal; the probe is on from the start.
SELECT time, comm, pid, target_pid, signal
FROM signal
WHERE signal IN ('SIGKILL', 'SIGTERM')
ORDER BY time DESC
LIMIT 20;

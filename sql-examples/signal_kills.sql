-- Who killed whom?
SELECT time, comm, pid, target_pid, signal
FROM signal
WHERE signal IN ('SIGKILL', 'SIGTERM')
ORDER BY time DESC
LIMIT 20;

-- Which system calls fail most? (ALTER PROBE syscall_error_rate ENABLE)
SELECT comm, syscall, error, sum(events) AS failures
FROM syscall_error_rate
GROUP BY 1, 2, 3
ORDER BY failures DESC
LIMIT 20;

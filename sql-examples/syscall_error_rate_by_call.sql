-- Which system calls fail most?
-- Cost: all that is kept of syscall_error_rate; needs ALTER PROBE syscall_error_rate ENABLE, whose notice says what that costs.
SELECT comm, syscall, error, sum(events) AS failures
FROM syscall_error_rate
GROUP BY 1, 2, 3
ORDER BY failures DESC
LIMIT 20;

-- Which programs meet which errors?
-- Cost: an hour of syscall_errors, three columns; needs ALTER PROBE syscall_errors ENABLE, whose notice says what that costs.
SELECT comm, syscall, error, count(*) AS errors
FROM syscall_errors
WHERE time > now() - interval '1 hour'
GROUP BY comm, syscall, error
ORDER BY errors DESC
LIMIT 20;

-- In which system calls is time spent?
-- Cost: all that is kept of syscall_latency; needs ALTER PROBE syscall_latency ENABLE, whose notice says what that costs.
SELECT syscall, sum(events) AS calls, sum(events * latency_mean_ns) / 1000000 AS total_ms, max(latency_p99_ns) AS latency_p99_ns
FROM syscall_latency
GROUP BY 1
ORDER BY total_ms DESC
LIMIT 20;

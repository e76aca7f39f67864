-- Whose reads and writes are slow?
-- Cost: all that is kept of io_latency; needs ALTER PROBE io_latency ENABLE, whose notice says what that costs.
SELECT comm, syscall, sum(events) AS calls, sum(bytes) AS bytes, max(latency_p99_ns) AS latency_p99_ns
FROM io_latency
GROUP BY 1, 2
ORDER BY latency_p99_ns DESC
LIMIT 20;

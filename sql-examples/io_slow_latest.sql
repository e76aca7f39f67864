-- Which reads and writes kept a program waiting?
-- Cost: the newest rows of io_slow; needs ALTER PROBE io_slow ENABLE, whose notice says what that costs.
SELECT time, comm, pid, syscall, bytes, error, latency_ns / 1e6 AS latency_ms
FROM io_slow
ORDER BY time DESC
LIMIT 20;

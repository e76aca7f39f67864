-- Which requests to block devices took longest?
-- Cost: all that is kept of block_slow; the probe is on from the start.
SELECT time, device_major, device_minor, operation, bytes, issued_by, latency_ns
FROM block_slow
ORDER BY latency_ns DESC
LIMIT 20;

-- How slow was each device, window by window?
-- Cost: the newest rows of block_latency; the probe is on from the start.
SELECT time, device_major, device_minor, operation, events, bytes, latency_p50_ns, latency_p99_ns, latency_max_ns
FROM block_latency
ORDER BY time DESC, latency_p99_ns DESC
LIMIT 20;

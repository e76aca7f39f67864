-- How much time do the handlers of interrupts take?
-- Cost: all that is kept of hardirq_latency; needs ALTER PROBE hardirq_latency ENABLE, whose notice says what that costs.
SELECT irq, handler, sum(events) AS events, sum(total_ns) / 1000000 AS total_ms, max(latency_max_ns) AS latency_max_ns
FROM hardirq_latency
GROUP BY 1, 2
ORDER BY total_ms DESC;

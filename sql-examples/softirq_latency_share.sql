-- How much time do software interrupts take, by kind?
-- Cost: all that is kept of softirq_latency; needs ALTER PROBE softirq_latency ENABLE, whose notice says what that costs.
SELECT softirq, sum(events) AS events, sum(total_ns) / 1000000 AS total_ms, max(latency_max_ns) AS latency_max_ns
FROM softirq_latency
GROUP BY 1
ORDER BY total_ms DESC;

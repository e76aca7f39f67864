-- How long software interrupts took, by kind, in windows of 10 s. Shipped off.
-- Cost: some 400 ns for each software interrupt.
CREATE PROBE softirq_latency WITH (max_keys = 16) AS
SELECT
    time_bucket('10 seconds', x.time) AS time,    -- when the window began
    label(x.vec) AS softirq,                      -- kind: TIMER, NET_RX, SCHED, RCU, …
    count(*) AS events,                           -- software interrupts that were served
    sum(x.nsecs - e.nsecs) AS total_ns,           -- time they took together; ns
    avg(x.nsecs - e.nsecs) AS latency_mean_ns,    -- mean time of one; ns
    approx_percentile(x.nsecs - e.nsecs, 0.5) AS latency_p50_ns, -- half of them took no longer, within 6.25 %; ns
    approx_percentile(x.nsecs - e.nsecs, 0.99) AS latency_p99_ns, -- 99 of 100 took no longer, within 6.25 %; ns
    max(x.nsecs - e.nsecs) AS latency_max_ns,     -- the longest; ns
    histogram(x.nsecs - e.nsecs) AS latency_histogram_ns -- [[begin, end, count], …]; ns
FROM tracepoint.softirq_entry e JOIN tracepoint.softirq_exit x ON e.cpu = x.cpu
WHERE e.vec = x.vec
GROUP BY 1, 2;

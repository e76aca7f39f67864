-- How long the handlers of hardware interrupts took, by interrupt, in windows of 10 s. Shipped off.
-- Cost: some 500 ns for each handler that runs.
CREATE PROBE hardirq_latency WITH (max_keys = 256) AS
SELECT
    time_bucket('10 seconds', x.time) AS time,    -- when the window began
    x.irq,                                        -- number of the interrupt
    kernel_string(e.action.name) AS handler,      -- name of the handler's device
    count(*) AS events,                           -- handlers that ran
    count(*) FILTER (WHERE x.ret = 0) AS not_own, -- those whose device was not the cause
    sum(x.nsecs - e.nsecs) AS total_ns,           -- time they took together; ns
    avg(x.nsecs - e.nsecs) AS latency_mean_ns,    -- mean time of one; ns
    approx_percentile(x.nsecs - e.nsecs, 0.5) AS latency_p50_ns, -- half of them took no longer, within 6.25 %; ns
    approx_percentile(x.nsecs - e.nsecs, 0.99) AS latency_p99_ns, -- 99 of 100 took no longer, within 6.25 %; ns
    max(x.nsecs - e.nsecs) AS latency_max_ns,     -- the longest; ns
    histogram(x.nsecs - e.nsecs) AS latency_histogram_ns -- [[begin, end, count], …]; ns
FROM tp_btf.irq_handler_entry e JOIN tp_btf.irq_handler_exit x ON e.cpu = x.cpu
WHERE e.irq = x.irq
GROUP BY 1, 2, 3;

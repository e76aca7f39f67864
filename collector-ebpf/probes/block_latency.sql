-- Latency of requests to block devices by device and operation, in windows of 10 s, from their issue to their completion.
-- A request for which the device has no room is issued again: what counts is its last issue, the ones before are unpaired_start.
-- On. Cost: some 1,500 ns for each request, at both ends together; 2 MiB of memory for each processor.
CREATE PROBE block_latency WITH (max_keys = 256) AS
SELECT
    time_bucket('10 seconds', c.time) AS time,    -- when the window began
    c.rq.q.disk.major AS device_major,            -- major number of the device
    c.rq.q.disk.first_minor AS device_minor,      -- minor number of the device
    CASE c.rq.cmd_flags & 255
        WHEN 0 THEN 'read'
        WHEN 1 THEN 'write'
        WHEN 2 THEN 'flush'
        WHEN 3 THEN 'discard'
        ELSE 'other'
    END AS operation,                             -- what was asked for
    count(*) AS events,                           -- requests that were completed
    count(*) FILTER (WHERE c.error <> 0) AS errors, -- those that failed
    sum(CAST(i.rq.__data_len AS bigint)) AS bytes, -- size of the requests together; bytes
    avg(c.nsecs - i.nsecs) AS latency_mean_ns,    -- mean time from issue to completion; ns
    approx_percentile(c.nsecs - i.nsecs, 0.5) AS latency_p50_ns, -- half of them took no longer, within 6.25 %; ns
    approx_percentile(c.nsecs - i.nsecs, 0.99) AS latency_p99_ns, -- 99 of 100 took no longer, within 6.25 %; ns
    max(c.nsecs - i.nsecs) AS latency_max_ns,     -- the longest; ns
    histogram(c.nsecs - i.nsecs) AS latency_histogram_ns -- [[begin, end, count], …]; ns
FROM tp_btf.block_rq_issue i JOIN tp_btf.block_rq_complete c
    -- a write of nothing is the kernel's own note that a flush is done; nobody issued it
    ON i.rq = c.rq AND ((c.rq.cmd_flags & 255) <> 1 OR c.nr_bytes > 0)
GROUP BY 1, 2, 3, 4;

-- Latency of system calls by name, in windows of 10 s. Calls that wait for something to happen are long and nothing is wrong.
-- Shipped off. Cost: some 300 ns for every system call of the host; 4 MiB of memory for each processor.
CREATE PROBE syscall_latency WITH (max_keys = 512) AS
SELECT
    time_bucket('10 seconds', x.time) AS time,    -- when the window began
    syscall_name(e.id) AS syscall,                -- name of the call
    count(*) AS events,                           -- calls that returned
    count(*) FILTER (WHERE x.ret < 0 AND x.ret >= -4095) AS errors, -- those that failed
    avg(x.nsecs - e.nsecs) AS latency_mean_ns,    -- mean time in the call; ns
    approx_percentile(x.nsecs - e.nsecs, 0.5) AS latency_p50_ns, -- half of them took no longer, within 6.25 %; ns
    approx_percentile(x.nsecs - e.nsecs, 0.99) AS latency_p99_ns, -- 99 of 100 took no longer, within 6.25 %; ns
    max(x.nsecs - e.nsecs) AS latency_max_ns,     -- the longest; ns
    histogram(x.nsecs - e.nsecs) AS latency_histogram_ns -- [[begin, end, count], …]; ns
FROM tracepoint.raw_syscalls.sys_enter e JOIN tracepoint.raw_syscalls.sys_exit x ON e.tid = x.tid
WHERE x.id = e.id
GROUP BY 1, 2;

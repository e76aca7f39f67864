-- Latency of reads, writes and syncs by thread name and call, in windows of 10 s: of files, and of whatever else a descriptor
-- stands for. Single slow ones are rows of io_slow. Shipped off.
-- Cost: some 100 ns for every system call of the host, and some 300 ns for each of these; 4 MiB of memory for each processor.
CREATE PROBE io_latency WITH (max_keys = 512) AS
SELECT
    time_bucket('10 seconds', x.time) AS time,    -- when the window began
    x.comm,                                       -- name of the thread
    syscall_name(e.id) AS syscall,                -- name of the call
    count(*) AS events,                           -- calls that returned
    count(*) FILTER (WHERE x.ret < 0) AS errors,  -- those that failed
    sum(CASE WHEN x.ret > 0 THEN x.ret END) AS bytes, -- read or written; NULL when nothing was; bytes
    avg(x.nsecs - e.nsecs) AS latency_mean_ns,    -- mean time in the call; ns
    approx_percentile(x.nsecs - e.nsecs, 0.5) AS latency_p50_ns, -- half of them took no longer, within 6.25 %; ns
    approx_percentile(x.nsecs - e.nsecs, 0.99) AS latency_p99_ns, -- 99 of 100 took no longer, within 6.25 %; ns
    max(x.nsecs - e.nsecs) AS latency_max_ns,     -- the longest; ns
    histogram(x.nsecs - e.nsecs) AS latency_histogram_ns -- [[begin, end, count], …]; ns
FROM tracepoint.raw_syscalls.sys_enter e JOIN tracepoint.raw_syscalls.sys_exit x ON e.tid = x.tid
-- read, write, pread64, pwrite64, readv, writev, fsync, fdatasync of x86-64
WHERE e.id IN (0, 1, 17, 18, 19, 20, 74, 75) AND x.id = e.id
GROUP BY 1, 2, 3;

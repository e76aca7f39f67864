-- How long threads that were woken waited for a processor, by cgroup, in windows of 10 s. A thread that was woken before it
-- left its processor waits for none; one that was interrupted by another, or is new, was not woken: they are left out. On.
-- Cost: some 2,000 ns for each wakeup, the changes of a processor's thread that nobody waited for with it; 1 MiB of memory for each processor.
CREATE PROBE run_queue_latency WITH (max_keys = 128) AS
SELECT
    time_bucket('10 seconds', s.time) AS time,    -- when the window began
    s.next.cgroups.dfl_cgrp.kn.id AS cgroup_id,   -- id of the cgroup (version 2) of the thread
    container(s.next.cgroups.dfl_cgrp.kn.id) AS container_id, -- id of the container; NULL outside of one
    count(*) AS events,                           -- threads that got a processor
    avg(s.nsecs - w.nsecs) AS latency_mean_ns,    -- mean time they waited; ns
    approx_percentile(s.nsecs - w.nsecs, 0.5) AS latency_p50_ns, -- half of them waited no longer, within 6.25 %; ns
    approx_percentile(s.nsecs - w.nsecs, 0.99) AS latency_p99_ns, -- 99 of 100 waited no longer, within 6.25 %; ns
    max(s.nsecs - w.nsecs) AS latency_max_ns,     -- the longest; ns
    histogram(s.nsecs - w.nsecs) AS latency_histogram_ns -- [[begin, end, count], …]; ns
FROM tp_btf.sched_wakeup w JOIN tp_btf.sched_switch s ON w.p = s.next
WHERE w.p.on_cpu = 0
GROUP BY 1, 2, 3;

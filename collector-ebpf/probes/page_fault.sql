-- Page faults of processes by process and thread name, in windows of 10 s. Shipped off. The kernel has this event on x86-64.
-- Cost: some 200 ns for each page fault of the host; 1 MiB of memory for each processor.
CREATE PROBE page_fault WITH (max_keys = 4096) AS
SELECT
    time_bucket('10 seconds', time) AS time,      -- when the window began
    pid,                                          -- process that met the fault
    comm,                                         -- name of the thread
    cgroup_id,                                    -- id of the cgroup (version 2)
    container(cgroup_id) AS container_id,         -- id of the container; NULL outside of one
    count(*) AS events,                           -- page faults
    count(*) FILTER (WHERE error_code & 2 <> 0) AS writes, -- those at a write
    count(*) FILTER (WHERE error_code & 16 <> 0) AS fetches, -- those at an instruction
    count(*) FILTER (WHERE error_code & 1 <> 0) AS protections -- those at a page that was there: a copy on write, or a wrong access
FROM tracepoint.page_fault_user
GROUP BY 1, 2, 3, 4, 5;

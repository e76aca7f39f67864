-- Requests to block devices, from their issue to their completion. Interrupts complete them, so the process is not known;
-- who issued them is often a thread of the kernel. Requests without data, as flushes, are left out. Shipped off.
-- Cost: some 500 ns for each request, at both ends together.
CREATE PROBE block_io AS
SELECT
    c.pid,                                        -- NULL: it is not known which process
    c.tid,                                        -- NULL: it is not known which thread
    c.ppid,                                       -- parent of the process
    c.uid,                                        -- user id of the process
    c.gid,                                        -- group id of the process
    c.comm,                                       -- name of the thread
    exe(c.pid) AS exe,                            -- path of the executable
    container(c.cgroup_id) AS container_id,       -- id of the container; NULL outside of one
    c.cgroup_id,                                  -- id of the cgroup (version 2)
    c.cpu,                                        -- processor
    c.dev / 1048576 AS device_major,              -- major number of the device
    c.dev % 1048576 AS device_minor,              -- minor number of the device
    c.sector,                                     -- first sector, of 512 bytes
    CAST(i.bytes AS bigint) AS bytes,             -- size of the request; bytes
    CASE substr(c.rwbs, 1, 1)
        WHEN 'R' THEN 'read'
        WHEN 'W' THEN 'write'
        WHEN 'D' THEN 'discard'
        WHEN 'F' THEN 'flush'
        ELSE c.rwbs
    END AS operation,                             -- what was asked for
    errno_name(c.error) AS error,                 -- NULL when it succeeded
    i.args.comm AS issued_by,                     -- name of the thread that handed it to the device
    c.nsecs - i.nsecs AS latency_ns               -- from issue to completion; ns
FROM tracepoint.block_rq_issue i JOIN tracepoint.block_rq_complete c ON i.dev = c.dev AND i.sector = c.sector
    AND i.nr_sector > 0 AND c.nr_sector > 0;

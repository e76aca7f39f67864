-- Requests to block devices that took 100 ms and more, from their issue to their completion. Interrupts complete them, so the
-- process is not known; who issued them is often a thread of the kernel. On.
-- Cost: some 800 ns for each request, at both ends together.
CREATE PROBE block_slow AS
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
    c.rq.q.disk.major AS device_major,            -- major number of the device
    c.rq.q.disk.first_minor AS device_minor,      -- minor number of the device
    c.rq.__sector AS sector,                      -- first sector, of 512 bytes
    CAST(i.rq.__data_len AS bigint) AS bytes,     -- size of the request; bytes
    CASE c.rq.cmd_flags & 255
        WHEN 0 THEN 'read'
        WHEN 1 THEN 'write'
        WHEN 2 THEN 'flush'
        WHEN 3 THEN 'discard'
        ELSE 'other'
    END AS operation,                             -- what was asked for
    c.error <> 0 AS failed,                       -- whether the device answered with an error
    i.current.comm AS issued_by,                  -- name of the thread that handed it to the device
    c.nsecs - i.nsecs AS latency_ns               -- from issue to completion; ns
FROM tp_btf.block_rq_issue i JOIN tp_btf.block_rq_complete c
    -- a write of nothing is the kernel's own note that a flush is done; nobody issued it
    ON i.rq = c.rq AND ((c.rq.cmd_flags & 255) <> 1 OR c.nr_bytes > 0)
WHERE c.nsecs - i.nsecs >= 100000000;

-- Requests to block devices that were completed. Interrupts complete them, so the process is not known. Shipped off.
-- Cost: a few hundred nanoseconds for each request.
CREATE PROBE block_io AS
SELECT
    pid,                                          -- NULL: it is not known which process
    tid,                                          -- NULL: it is not known which thread
    ppid,                                         -- parent of the process
    uid,                                          -- user id of the process
    gid,                                          -- group id of the process
    comm,                                         -- name of the thread
    exe(pid) AS exe,                              -- path of the executable
    container(cgroup_id) AS container_id,         -- id of the container; NULL outside of one
    cgroup_id,                                    -- id of the cgroup (version 2)
    cpu,                                          -- processor
    dev / 1048576 AS device_major,                -- major number of the device
    dev % 1048576 AS device_minor,                -- minor number of the device
    sector,                                       -- first sector, of 512 bytes
    CAST(nr_sector AS bigint) * 512 AS bytes,     -- size of the request; bytes
    CASE substr(rwbs, 1, 1)
        WHEN 'R' THEN 'read'
        WHEN 'W' THEN 'write'
        WHEN 'D' THEN 'discard'
        WHEN 'F' THEN 'flush'
        ELSE rwbs
    END AS operation,                             -- what was asked for
    errno_name(error) AS error                    -- NULL when it succeeded
FROM tracepoint.block_rq_complete;

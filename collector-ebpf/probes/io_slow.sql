-- Reads and writes that took 10 ms and more: of files, and of whatever else a descriptor stands for. Shipped off.
-- Cost: some 100 ns for every system call of the host, and some 300 ns for each read and write.
CREATE PROBE io_slow AS
SELECT
    x.pid,                                        -- process that made the call
    x.tid,                                        -- thread that made the call
    x.ppid,                                       -- parent of the process
    x.uid,                                        -- user id of the process
    x.gid,                                        -- group id of the process
    x.comm,                                       -- name of the thread
    exe(x.pid) AS exe,                            -- path of the executable
    container(x.cgroup_id) AS container_id,       -- id of the container; NULL outside of one
    x.cgroup_id,                                  -- id of the cgroup (version 2)
    x.cpu,                                        -- processor
    syscall_name(e.id) AS syscall,                -- name of the call
    CAST(e.args[1] AS int) AS fd,                 -- descriptor
    CASE WHEN x.ret >= 0 THEN x.ret END AS bytes, -- bytes read or written; NULL when it failed
    errno_name(CASE WHEN x.ret < 0 THEN x.ret END) AS error, -- NULL when it succeeded
    x.nsecs - e.nsecs AS latency_ns               -- time in the call; ns
FROM tracepoint.raw_syscalls.sys_enter e JOIN tracepoint.raw_syscalls.sys_exit x ON e.tid = x.tid
-- read, write, pread64, pwrite64, readv, writev, fsync, fdatasync of x86-64
WHERE e.id IN (0, 1, 17, 18, 19, 20, 74, 75) AND x.id = e.id AND x.nsecs - e.nsecs >= 10000000;

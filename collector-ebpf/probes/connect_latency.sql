-- Calls of connect, with the time they took. Shipped off.
-- Cost: some 90 ns for every system call of the host, and some 500 ns for each connect.
CREATE PROBE connect_latency AS
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
    e.fd,                                         -- descriptor of the socket
    errno_name(x.ret) AS error,                   -- EINPROGRESS: it goes on without the caller; NULL when it is connected
    x.nsecs - e.nsecs AS latency_ns               -- time in the call; ns
FROM tracepoint.sys_enter_connect e JOIN tracepoint.sys_exit_connect x ON e.tid = x.tid;

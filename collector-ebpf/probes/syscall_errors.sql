-- System calls that failed. Shipped off.
-- Cost: some 50 ns for every system call of the host, and some 300 ns for each that fails.
CREATE PROBE syscall_errors AS
SELECT
    pid,                                          -- process that made the call
    tid,                                          -- thread that made the call
    ppid,                                         -- parent of the process
    uid,                                          -- user id of the process
    gid,                                          -- group id of the process
    comm,                                         -- name of the thread
    exe(pid) AS exe,                              -- path of the executable
    container(cgroup_id) AS container_id,         -- id of the container; NULL outside of one
    cgroup_id,                                    -- id of the cgroup (version 2)
    cpu,                                          -- processor
    syscall_name(id) AS syscall,                  -- name of the call
    - ret AS errno,                               -- number of the error
    errno_name(ret) AS error                      -- its name
FROM tracepoint.raw_syscalls.sys_exit
WHERE ret < 0 AND ret >= -4095;

-- Programs that were started: one row for each execve that succeeded.
-- Cost: a few hundred nanoseconds for each start of a program; nothing in between.
CREATE PROBE process_exec AS
SELECT
    pid,                                          -- process that executed the program
    tid,                                          -- thread that executed the program
    ppid,                                         -- parent of the process
    uid,                                          -- user id of the process
    gid,                                          -- group id of the process
    comm,                                         -- name of the thread
    exe(pid) AS exe,                              -- path of the executable
    container(cgroup_id) AS container_id,         -- id of the container; NULL outside of one
    cgroup_id,                                    -- id of the cgroup (version 2)
    cpu,                                          -- processor
    filename,                                     -- path as it was given to execve
    cmdline(pid) AS cmdline,                      -- command line; secrets are hidden
    old_pid                                       -- thread id before: differs from pid when another thread called execve
FROM tracepoint.sched_process_exec;

-- Processes that were made by fork or clone; threads are left out. Shipped off.
-- Cost: a few hundred nanoseconds for each new process.
CREATE PROBE process_fork AS
SELECT
    pid,                                          -- process that made the new one
    tid,                                          -- thread that made the new one
    ppid,                                         -- parent of the process
    uid,                                          -- user id of the process
    gid,                                          -- group id of the process
    comm,                                         -- name of the thread
    exe(pid) AS exe,                              -- path of the executable
    container(cgroup_id) AS container_id,         -- id of the container; NULL outside of one
    cgroup_id,                                    -- id of the cgroup (version 2)
    cpu,                                          -- processor
    child.tgid AS child_pid,                      -- the new process
    child.comm AS child_comm                      -- its name, still the parent's
FROM tp_btf.sched_process_fork
WHERE child.pid = child.tgid;

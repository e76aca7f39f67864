-- Processes that ended: one row when the last thread of a process is gone.
-- Cost: a few hundred nanoseconds for each end of a process; less for each end of a thread.
-- Needs a kernel whose sched_process_exit says whether the whole group is dead.
CREATE PROBE process_exit AS
SELECT
    pid,                                          -- process that ended
    tid,                                          -- thread that ended
    ppid,                                         -- parent of the process
    uid,                                          -- user id of the process
    gid,                                          -- group id of the process
    comm,                                         -- name of the thread
    exe(pid) AS exe,                              -- path of the executable
    container(cgroup_id) AS container_id,         -- id of the container; NULL outside of one
    cgroup_id,                                    -- id of the cgroup (version 2)
    cpu,                                          -- processor
    p.exit_code / 256 % 256 AS exit_code,         -- status given to exit; 0 when a signal ended the process
    signal_name(p.exit_code % 128) AS exit_signal, -- signal that ended it; NULL when it ended by itself
    p.exit_code / 128 % 2 = 1 AS core_dumped,     -- whether a core was written
    nsecs - p.group_leader.start_time AS lifetime_ns, -- time since the process was made; ns
    p.signal.utime + p.utime AS user_ns,          -- CPU time in user mode, all threads; ns
    p.signal.stime + p.stime AS system_ns,        -- CPU time in the kernel, all threads; ns
    p.signal.maxrss * page_bytes() AS max_rss_bytes, -- most memory that was resident at once; bytes
    p.signal.ioac.read_bytes + p.ioac.read_bytes AS read_bytes, -- read from storage; bytes
    p.signal.ioac.write_bytes + p.ioac.write_bytes AS write_bytes -- written towards storage; bytes
FROM tp_btf.sched_process_exit
WHERE group_dead;

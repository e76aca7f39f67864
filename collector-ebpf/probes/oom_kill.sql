-- Processes that the kernel killed because memory ran out.
-- Cost: none until it happens.
CREATE PROBE oom_kill AS
SELECT
    pid,                                          -- process that asked for the memory
    tid,                                          -- thread that asked for the memory
    ppid,                                         -- parent of the process
    uid,                                          -- user id of the process
    gid,                                          -- group id of the process
    comm,                                         -- name of the thread
    exe(pid) AS exe,                              -- path of the executable
    container(cgroup_id) AS container_id,         -- id of the container; NULL outside of one
    cgroup_id,                                    -- id of the cgroup (version 2)
    cpu,                                          -- processor
    args.pid AS target_pid,                       -- process that was killed
    args.comm AS target_comm,                     -- its name
    args.uid AS target_uid,                       -- its user id
    total_vm * 1024 AS total_vm_bytes,            -- its address space; bytes
    anon_rss * 1024 AS anon_rss_bytes,            -- resident memory of its own; bytes
    file_rss * 1024 AS file_rss_bytes,            -- resident memory of files; bytes
    shmem_rss * 1024 AS shmem_rss_bytes,          -- resident shared memory; bytes
    pgtables * 1024 AS page_tables_bytes,         -- its page tables; bytes
    oom_score_adj                                 -- its adjustment, from -1000 (never) to 1000 (first)
FROM tracepoint.mark_victim;

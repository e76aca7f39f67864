-- Signals that end or are meant to end: TERM, KILL, INT, HUP, QUIT, ABRT, SEGV, BUS, ILL, FPE.
-- Cost: a comparison for every signal of the host, a few hundred nanoseconds for each of these.
CREATE PROBE signal AS
SELECT
    pid,                                          -- process that sent the signal, or met the fault
    tid,                                          -- thread that sent the signal, or met the fault
    ppid,                                         -- parent of the process
    uid,                                          -- user id of the process
    gid,                                          -- group id of the process
    comm,                                         -- name of the thread
    exe(pid) AS exe,                              -- path of the executable
    container(cgroup_id) AS container_id,         -- id of the container; NULL outside of one
    cgroup_id,                                    -- id of the cgroup (version 2)
    cpu,                                          -- processor
    args.pid AS target_pid,                       -- thread the signal is for
    args.comm AS target_comm,                     -- its name
    signal_name(sig) AS signal,                   -- name of the signal
    code AS signal_code,                          -- how it came about (si_code); 0 from kill, above 0 from the kernel
    args."group" <> 0 AS to_process,              -- whether it is for the whole process
    CASE result
        WHEN 0 THEN 'delivered'
        WHEN 1 THEN 'ignored'
        WHEN 2 THEN 'already pending'
        WHEN 3 THEN 'queue full'
        WHEN 4 THEN 'information lost'
    END AS result                                 -- what became of it
FROM tracepoint.signal_generate
WHERE sig IN (15, 9, 2, 1, 3, 6, 11, 7, 4, 8);

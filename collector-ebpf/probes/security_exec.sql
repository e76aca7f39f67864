-- Executions that deserve a look: programs that give rights to whoever starts them (sudo, su, ping), and programs from
-- files without a name, deleted or never in a directory (memfd_create), which leave no trace on a disk.
-- Cost: two comparisons for each start of a program; less than a microsecond for each of these. They are rare.
CREATE PROBE security_exec AS
SELECT
    pid,                                          -- process that executed the program
    tid,                                          -- thread that executed the program
    ppid,                                         -- parent of the process
    uid,                                          -- user id of the process: who started the program
    gid,                                          -- group id of the process
    comm,                                         -- name of the thread
    exe(pid) AS exe,                              -- path of the executable
    container(cgroup_id) AS container_id,         -- id of the container; NULL outside of one
    cgroup_id,                                    -- id of the cgroup (version 2)
    cpu,                                          -- processor
    kernel_string(bprm.filename) AS filename,     -- path as it was given to execve
    cmdline(pid) AS cmdline,                      -- command line; secrets are hidden
    p.cred.euid.val AS effective_uid,             -- user id that its rights are checked by
    p.cred.egid.val AS effective_gid,             -- group id that its rights are checked by
    bprm.secureexec <> 0 AS gains_rights,         -- whether it has rights that its user has not (the kernel's AT_SECURE)
    bprm.file.f_inode.i_nlink = 0 AS nameless     -- whether its file has no name; of a script, its interpreter's
FROM tp_btf.sched_process_exec
WHERE bprm.secureexec <> 0 OR bprm.file.f_inode.i_nlink = 0;

-- Files that were opened by openat, whether it succeeded or not. Shipped off.
-- Cost: some 300 ns for each open and some 50 ns for every other system call of the host; a busy host opens
-- 10,000 files a second.
CREATE PROBE file_open AS
SELECT
    pid,                                          -- process that opened the file
    tid,                                          -- thread that opened the file
    ppid,                                         -- parent of the process
    uid,                                          -- user id of the process
    gid,                                          -- group id of the process
    comm,                                         -- name of the thread
    exe(pid) AS exe,                              -- path of the executable
    container(cgroup_id) AS container_id,         -- id of the container; NULL outside of one
    cgroup_id,                                    -- id of the cgroup (version 2)
    cpu,                                          -- processor
    user_string(filename) AS path,                -- path as it was given, perhaps relative
    dfd AS directory_fd,                          -- directory a relative path starts at; -100 is the working directory
    flags,                                        -- how it is opened (O_…)
    mode                                          -- permissions of a new file
FROM tracepoint.sys_enter_openat;

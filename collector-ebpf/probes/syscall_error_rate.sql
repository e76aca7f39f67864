-- System calls that failed, by thread name, call and error, in windows of 10 s. Each of them is a row of syscall_errors. Shipped off.
-- Cost: some 50 ns for every system call of the host, and some 200 ns for each that fails.
CREATE PROBE syscall_error_rate WITH (max_keys = 4096) AS
SELECT
    time_bucket('10 seconds', time) AS time,      -- when the window began
    comm,                                         -- name of the thread
    syscall_name(id) AS syscall,                  -- name of the call
    errno_name(ret) AS error,                     -- name of the error
    count(*) AS events                            -- calls that failed so
FROM tracepoint.raw_syscalls.sys_exit
WHERE ret < 0 AND ret >= -4095
GROUP BY 1, 2, 3, 4;

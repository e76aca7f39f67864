-- NAME: what a row is, in one sentence. Cost: the hook, and how often it fires on a busy host.
CREATE PROBE NAME AS
SELECT
  pid,                              -- Process id in the host's namespace.
  tid,                              -- Thread id in the host's namespace.
  ppid,                             -- Process id of the parent.
  uid,                              -- User id.
  gid,                              -- Group id.
  comm,                             -- Name of the thread, at most 15 bytes.
  exe(pid) AS exe,                  -- Path of the executable.
  container(cgroup_id) AS container_id, -- Container id, from the cgroup's path.
  cgroup_id,                        -- Cgroup id.
  cpu,                              -- CPU the event happened on.
  kernel_string(filename) AS filename -- What the event tells; its unit.
FROM tracepoint.sched_process_exec;

//! The views for Grafana's panels of logs, traces and node graphs. Names of columns are those that the panels look for.

use super::views::{View, ViewColumn, column};

/// Every view that comes with us.
pub(super) const VIEWS: &[View] = &[
    View {
        name: "grafana_logs",
        comment: "events worth reading, as lines for a panel of logs: filter by timestamp",
        columns: LOG_COLUMNS,
        parts: LOG_PARTS,
    },
    View {
        name: "grafana_service_edges",
        comment: "who talked to whom by TCP, a row for each window of 10 s: sum them up by id for a node graph's edges",
        columns: EDGE_COLUMNS,
        parts: &[("tcp_flow", EDGES)],
    },
    View {
        name: "grafana_service_nodes",
        comment: "both ends of grafana_service_edges, a row for each window of 10 s: sum them up by id for a node graph's nodes",
        columns: NODE_COLUMNS,
        parts: &[("tcp_flow", SOURCES), ("tcp_flow", TARGETS)],
    },
    View {
        name: "grafana_traces",
        comment: "spans of processes: each process that ended is a trace, with the programs it executed and its slow calls in it",
        columns: SPAN_COLUMNS,
        parts: SPAN_PARTS,
    },
];

const LOG_COLUMNS: &[ViewColumn] = &[
    column("timestamp", "timestamptz", "when it happened"),
    column("body", "text", "the line"),
    column("severity", "text", "critical, error, warning, info or debug"),
    column("id", "text", "what no other line has"),
    column("labels", "jsonb", "the table with more of it, and who it was"),
    column("node", "text", "name of the node it happened on"),
];

const LOG_PARTS: &[(&str, &str)] = &[
    (
        "process_exec",
        "SELECT time AS timestamp, concat('started: ', left(coalesce(cmdline, filename), 500)) AS body, 'info' AS severity,
  concat('process_exec ', node, ' ', tid, ' ', epoch_ns(time)) AS id,
  json_build_object('table', 'process_exec', 'comm', comm, 'pid', pid, 'uid', uid, 'container_id', container_id) AS labels, node
FROM process_exec",
    ),
    (
        "process_exit",
        "SELECT time AS timestamp,
  concat(comm, ' (', pid, ') ended ', CASE WHEN exit_signal IS NULL THEN concat('with status ', exit_code)
    ELSE concat('by ', exit_signal) END) AS body,
  CASE WHEN exit_signal IN ('SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGABRT') THEN 'error' ELSE 'warning' END AS severity,
  concat('process_exit ', node, ' ', tid, ' ', epoch_ns(time)) AS id,
  json_build_object('table', 'process_exit', 'comm', comm, 'pid', pid, 'uid', uid, 'container_id', container_id) AS labels, node
FROM process_exit
WHERE exit_code <> 0 OR exit_signal IS NOT NULL",
    ),
    (
        "signal",
        "SELECT time AS timestamp,
  concat(comm, ' (', pid, ') sent ', signal, ' to ', target_comm, ' (', target_pid, '): ', result) AS body,
  CASE signal WHEN 'SIGKILL' THEN 'warning' ELSE 'info' END AS severity,
  concat('signal ', node, ' ', tid, ' ', target_pid, ' ', epoch_ns(time)) AS id,
  json_build_object('table', 'signal', 'comm', comm, 'pid', pid, 'uid', uid, 'container_id', container_id) AS labels, node
FROM signal",
    ),
    (
        "oom_kill",
        "SELECT time AS timestamp,
  concat(target_comm, ' (', target_pid, ') was killed for want of memory, with ', anon_rss_bytes / 1048576, ' MiB of its own') AS body,
  'critical' AS severity, concat('oom_kill ', node, ' ', target_pid, ' ', epoch_ns(time)) AS id,
  json_build_object('table', 'oom_kill', 'comm', target_comm, 'pid', target_pid, 'uid', target_uid,
    'container_id', container_id) AS labels, node
FROM oom_kill",
    ),
    (
        "block_slow",
        "SELECT time AS timestamp,
  concat(operation, ' of ', bytes, ' bytes at device ', device_major, ':', device_minor, ' took ', latency_ns / 1000000, ' ms',
    CASE WHEN failed THEN ' and failed' ELSE '' END) AS body,
  CASE WHEN failed THEN 'error' ELSE 'warning' END AS severity,
  concat('block_slow ', node, ' ', device_major, ':', device_minor, ' ', sector, ' ', epoch_ns(time)) AS id,
  json_build_object('table', 'block_slow', 'comm', issued_by, 'operation', operation) AS labels, node
FROM block_slow",
    ),
    (
        "tcp_flow",
        "SELECT time AS timestamp,
  concat(failures, ' of ', events, ' connections ', CASE direction WHEN 'out' THEN concat('of ', comm, ' to ') ELSE 'from ' END,
    remote_address, CASE direction WHEN 'out' THEN ':' ELSE ' to port ' END, port, ' failed') AS body,
  'warning' AS severity,
  concat('tcp_flow ', node, ' ', cgroup_id, ' ', comm, ' ', direction, ' ', remote_address, ' ', port, ' ', epoch_ns(time)) AS id,
  json_build_object('table', 'tcp_flow', 'comm', comm, 'remote_address', remote_address, 'container_id', container_id) AS labels,
  node
FROM tcp_flow
WHERE failures > 0 AND NOT other",
    ),
    (
        "io_slow",
        "SELECT time AS timestamp, concat(comm, ' (', pid, ') was ', latency_ns / 1000000, ' ms in ', syscall) AS body,
  'warning' AS severity, concat('io_slow ', node, ' ', tid, ' ', epoch_ns(time)) AS id,
  json_build_object('table', 'io_slow', 'comm', comm, 'pid', pid, 'uid', uid, 'container_id', container_id) AS labels, node
FROM io_slow",
    ),
    (
        "syscall_errors",
        "SELECT time AS timestamp, concat(comm, ' (', pid, '): ', syscall, ' failed with ', error) AS body,
  'debug' AS severity, concat('syscall_errors ', node, ' ', tid, ' ', epoch_ns(time)) AS id,
  json_build_object('table', 'syscall_errors', 'comm', comm, 'pid', pid, 'uid', uid, 'container_id', container_id) AS labels, node
FROM syscall_errors",
    ),
];

const EDGE_COLUMNS: &[ViewColumn] = &[
    column("time", "timestamptz", "when the window began"),
    column("node", "text", "name of the node that saw it"),
    column("id", "text", "the edge: source and target"),
    column("source", "text", "who connected: node or container, and program; an address when it is elsewhere"),
    column("target", "text", "the service: address or node or container, and port"),
    column("mainstat", "int8", "connections that ended"),
    column("secondarystat", "int8", "bytes both ways"),
    column("detail__failures", "int8", "connections that were never established"),
];

const EDGES: &str = "SELECT time, node, concat(source, ' → ', target) AS id, source, target, events AS mainstat,
  sent_bytes + received_bytes AS secondarystat, failures AS detail__failures
FROM (
  SELECT time, node, events, failures, sent_bytes, received_bytes,
    CASE direction WHEN 'out' THEN concat(coalesce(left(container_id, 12), node), '/', comm) ELSE remote_address END AS source,
    CASE direction WHEN 'out' THEN concat(remote_address, ':', port)
      ELSE concat(coalesce(left(container_id, 12), node), ':', port) END AS target
  FROM tcp_flow
  WHERE NOT other
) AS flows";

const NODE_COLUMNS: &[ViewColumn] = &[
    column("time", "timestamptz", "when the window began"),
    column("node", "text", "name of the node that saw it"),
    column("id", "text", "the end of an edge: its source or its target"),
    column("title", "text", "program, or port of the service"),
    column("subtitle", "text", "where it is: node, container or address"),
    column("mainstat", "int8", "connections that ended"),
    column("secondarystat", "int8", "bytes both ways"),
];

const SOURCES: &str = "SELECT time, node,
  CASE direction WHEN 'out' THEN concat(coalesce(left(container_id, 12), node), '/', comm) ELSE remote_address END AS id,
  CASE direction WHEN 'out' THEN comm ELSE 'client' END AS title,
  CASE direction WHEN 'out' THEN coalesce(left(container_id, 12), node) ELSE remote_address END AS subtitle,
  events AS mainstat, sent_bytes + received_bytes AS secondarystat
FROM tcp_flow
WHERE NOT other";

const TARGETS: &str = "SELECT time, node,
  CASE direction WHEN 'out' THEN concat(remote_address, ':', port)
    ELSE concat(coalesce(left(container_id, 12), node), ':', port) END AS id,
  concat('port ', port) AS title,
  CASE direction WHEN 'out' THEN remote_address ELSE coalesce(left(container_id, 12), node) END AS subtitle,
  events AS mainstat, sent_bytes + received_bytes AS secondarystat
FROM tcp_flow
WHERE NOT other";

const SPAN_COLUMNS: &[ViewColumn] = &[
    column("time", "timestamptz", "when the span was recorded, which is its end"),
    column("node", "text", "name of the node it happened on"),
    column("traceID", "text", "the process, by its upid"),
    column("spanID", "text", "the span; the process's own is its trace's"),
    column("parentSpanID", "text", "the span around it; NULL of the process"),
    column("operationName", "text", "program, path or system call"),
    column("serviceName", "text", "the container, or the node"),
    column("serviceTags", "jsonb", "where it ran, as [{key, value}, …]"),
    column("startTime", "float8", "when it began, Unix time; ms"),
    column("duration", "float8", "how long it took; ms"),
    column("tags", "jsonb", "more of it, as [{key, value}, …]"),
    column("statusCode", "int4", "1 went well, 2 failed, 0 neither"),
    column("kind", "text", "internal, or client for a call of connect"),
];

const SPAN_PARTS: &[(&str, &str)] = &[
    (
        "process_exit",
        r#"SELECT time, node, lpad(to_hex(upid), 16, '0') AS "traceID", lpad(to_hex(upid), 16, '0') AS "spanID",
  CAST(NULL AS text) AS "parentSpanID", comm AS "operationName", coalesce(left(container_id, 12), node) AS "serviceName",
  concat('[', json_build_object('key', 'node', 'value', node), ',',
    json_build_object('key', 'container', 'value', container_id), ']') AS "serviceTags",
  extract(epoch FROM time) * 1000.0 - lifetime_ns / 1000000.0 AS "startTime", lifetime_ns / 1000000.0 AS duration,
  concat('[', json_build_object('key', 'pid', 'value', pid), ',', json_build_object('key', 'exe', 'value', exe), ',',
    json_build_object('key', 'exit_code', 'value', exit_code), ',',
    json_build_object('key', 'exit_signal', 'value', exit_signal), ',',
    json_build_object('key', 'cpu_ns', 'value', user_ns + system_ns), ']') AS tags,
  CASE WHEN exit_code = 0 AND exit_signal IS NULL THEN 1 ELSE 2 END AS "statusCode", 'internal' AS kind
FROM process_exit
WHERE upid IS NOT NULL"#,
    ),
    (
        "process_exec",
        r#"SELECT time, node, lpad(to_hex(upid), 16, '0') AS "traceID",
  concat('exec ', lpad(to_hex(upid), 16, '0'), ' ', epoch_ns(time)) AS "spanID",
  lpad(to_hex(upid), 16, '0') AS "parentSpanID", filename AS "operationName",
  coalesce(left(container_id, 12), node) AS "serviceName",
  concat('[', json_build_object('key', 'node', 'value', node), ',',
    json_build_object('key', 'container', 'value', container_id), ']') AS "serviceTags",
  extract(epoch FROM time) * 1000.0 AS "startTime", 0.0 AS duration,
  concat('[', json_build_object('key', 'pid', 'value', pid), ',', json_build_object('key', 'uid', 'value', uid), ',',
    json_build_object('key', 'cmdline', 'value', left(cmdline, 500)), ']') AS tags,
  0 AS "statusCode", 'internal' AS kind
FROM process_exec
WHERE upid IS NOT NULL"#,
    ),
    (
        "io_slow",
        r#"SELECT time, node, lpad(to_hex(upid), 16, '0') AS "traceID",
  concat(syscall, ' ', tid, ' ', epoch_ns(time)) AS "spanID",
  lpad(to_hex(upid), 16, '0') AS "parentSpanID", syscall AS "operationName",
  coalesce(left(container_id, 12), node) AS "serviceName",
  concat('[', json_build_object('key', 'node', 'value', node), ',',
    json_build_object('key', 'container', 'value', container_id), ']') AS "serviceTags",
  extract(epoch FROM time) * 1000.0 - latency_ns / 1000000.0 AS "startTime", latency_ns / 1000000.0 AS duration,
  concat('[', json_build_object('key', 'tid', 'value', tid), ',', json_build_object('key', 'fd', 'value', fd), ',',
    json_build_object('key', 'bytes', 'value', bytes), ',', json_build_object('key', 'error', 'value', error), ']') AS tags,
  CASE WHEN error IS NULL THEN 1 ELSE 2 END AS "statusCode", 'internal' AS kind
FROM io_slow
WHERE upid IS NOT NULL"#,
    ),
    (
        "connect_latency",
        r#"SELECT time, node, lpad(to_hex(upid), 16, '0') AS "traceID", concat('connect ', tid, ' ', epoch_ns(time)) AS "spanID",
  lpad(to_hex(upid), 16, '0') AS "parentSpanID", 'connect' AS "operationName",
  coalesce(left(container_id, 12), node) AS "serviceName",
  concat('[', json_build_object('key', 'node', 'value', node), ',',
    json_build_object('key', 'container', 'value', container_id), ']') AS "serviceTags",
  extract(epoch FROM time) * 1000.0 - latency_ns / 1000000.0 AS "startTime", latency_ns / 1000000.0 AS duration,
  concat('[', json_build_object('key', 'tid', 'value', tid), ',', json_build_object('key', 'fd', 'value', fd), ',',
    json_build_object('key', 'error', 'value', error), ']') AS tags,
  CASE WHEN error IS NULL OR error = 'EINPROGRESS' THEN 1 ELSE 2 END AS "statusCode", 'client' AS kind
FROM connect_latency
WHERE upid IS NOT NULL"#,
    ),
];

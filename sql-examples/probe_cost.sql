-- What do the probes cost, and what do they bring?
-- Cost: a row for each probe, in memory; nothing is scanned.
SELECT name, state, events, rows, rows_lost, round(ns_per_event::numeric, 0) AS ns_per_event,
       round(cpu_percent::numeric, 3) AS percent_of_a_core, kernel_bytes / 1024 AS kernel_kib
FROM system.probes
ORDER BY cpu_percent DESC NULLS LAST;

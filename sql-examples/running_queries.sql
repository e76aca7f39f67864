-- What is being asked now, and for how long already?
-- Cost: the running statements, in memory.
SELECT query_id, username, application_name, elapsed_ms, rows, left(query, 80) AS query
FROM system.queries
ORDER BY elapsed_ms DESC;

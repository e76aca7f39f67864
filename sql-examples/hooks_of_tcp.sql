-- Which hooks does this kernel have about TCP?
-- Cost: the names of the hooks, in memory; nothing is attached.
SELECT schema, "group", name, context
FROM system.hooks
WHERE name LIKE '%tcp%'
ORDER BY schema, name;

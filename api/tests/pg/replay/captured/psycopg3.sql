-- What psycopg3 sends, in order: a mark before each statement says by which protocol.
--= simple
BEGIN
--= extended
select * from logs where severity_number > $1 limit 3
--= extended
select $1::int + 1
--= extended
select timestamp, severity_number, body, attributes from logs where service_name = $1 limit 2
--= extended
DECLARE "srv" CURSOR FOR select * from logs
--= simple
FETCH FORWARD 10 FROM "srv"
--= simple
FETCH FORWARD ALL FROM "srv"
--= simple
CLOSE "srv"
--= simple
copy (select * from logs limit 2) to stdout (format binary)
--= extended
select $1
--= extended
select * from logs limit 5
--= simple
COMMIT
--= simple
BEGIN READ ONLY
--= simple
ROLLBACK
--= simple
DEALLOCATE ALL
--= extended
SELECT
    typname AS name, oid, typarray AS array_oid,
    oid::regtype::text AS regtype, typdelim AS delimiter
FROM pg_type t
WHERE t.oid = to_regtype($1)
ORDER BY t.oid


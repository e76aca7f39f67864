-- What psycopg2 sends, in order: a mark before each statement says by which protocol.
--= simple
BEGIN
--= simple
select * from logs where severity_number > 5 and service_name in ('svc1', 'svc2') limit 3
--= simple
COMMIT
--= simple
DECLARE "named" CURSOR WITHOUT HOLD FOR select * from logs
--= simple
FETCH FORWARD 20 FROM "named"
--= simple
copy (select * from logs limit 2) to stdout with csv header
--= simple
SET default_transaction_isolation TO 'READ COMMITTED'
--= simple
SET default_transaction_read_only TO 'on'
--= simple
select 2

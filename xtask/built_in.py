"""Writes query/src/pg_catalog/built_in.tsv: the rows of PostgreSQL 16's catalogs that are the same in every database.

Run with the socket folder, the user and the programs of a fresh PostgreSQL 16: built_in.py /folder user /bin > built_in.tsv
"""
import subprocess, sys

folder, user, programs = sys.argv[1:]

def query(sql):
    command = [programs + "/psql", "-h", folder, "-U", user, "-d", "postgres", "-X", "-q", "-c", f"COPY ({sql}) TO STDOUT"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout

# Types that are a table's row, and arrays of them, are the table's and not built in.
TYPES = """(SELECT t.oid FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem
            WHERE t.typtype <> 'c' AND coalesce(e.typtype, 'b') <> 'c' AND t.typnamespace = 11 AND t.oid < 12000)"""
NUMBER = lambda column: f"{column}::oid AS {column}"
TABLES = [
    ("pg_type", f"""SELECT oid, typname, typlen, typbyval, typtype, typcategory, typispreferred, typisdefined, typdelim,
        {NUMBER('typsubscript')}, typelem, typarray, {NUMBER('typinput')}, {NUMBER('typoutput')}, {NUMBER('typreceive')},
        {NUMBER('typsend')}, {NUMBER('typmodin')}, {NUMBER('typmodout')}, {NUMBER('typanalyze')}, typalign, typstorage,
        typbasetype, typtypmod, typcollation, format_type(oid, NULL) AS shown FROM pg_type WHERE oid IN {TYPES} ORDER BY oid"""),
    ("pg_operator", f"""SELECT oid, oprname, oprkind, oprcanmerge, oprcanhash, oprleft, oprright, oprresult, oprcom,
        oprnegate, {NUMBER('oprcode')}, {NUMBER('oprrest')}, {NUMBER('oprjoin')} FROM pg_operator ORDER BY oid"""),
    ("pg_cast", "SELECT oid, castsource, casttarget, castfunc, castcontext, castmethod FROM pg_cast WHERE oid < 16384 ORDER BY oid"),
    ("pg_opclass", "SELECT oid, opcmethod, opcname, opcfamily, opcintype, opcdefault, opckeytype FROM pg_opclass ORDER BY oid"),
    ("pg_opfamily", "SELECT oid, opfmethod, opfname FROM pg_opfamily ORDER BY oid"),
    ("pg_language", f"""SELECT oid, lanname, lanispl, lanpltrusted, lanplcallfoid, laninline, lanvalidator FROM pg_language
        WHERE NOT lanispl ORDER BY oid"""),
    ("pg_range", f"SELECT rngtypid, rngsubtype, rngmultitypid, rngcollation, rngsubopc, {NUMBER('rngcanonical')}, {NUMBER('rngsubdiff')} FROM pg_range ORDER BY 1"),
    # Source, language and cost say how PostgreSQL runs a function; the rest is what a caller knows.
    ("pg_proc", f"""SELECT oid, proname, prolang, procost::text, prorows::text, provariadic, prokind, proleakproof, proisstrict,
        proretset, provolatile, proparallel, pronargs, pronargdefaults, prorettype, translate(proargtypes::text, ' ', ',')
        AS proargtypes, array_to_string(proallargtypes, ',') AS proallargtypes, array_to_string(proargmodes, ',') AS proargmodes,
        array_to_string(proargnames, ',') AS proargnames, prosrc, pg_get_function_result(oid) AS result,
        pg_get_function_arguments(oid) AS arguments, obj_description(oid, 'pg_proc') AS description
        FROM pg_proc WHERE pronamespace = 11 AND oid < 12000 ORDER BY oid"""),
    ("pg_aggregate", f"SELECT {NUMBER('aggfnoid')}, aggkind, aggnumdirectargs, aggsortop, aggtranstype FROM pg_aggregate WHERE aggfnoid::oid < 12000 ORDER BY 1"),
    ("pg_get_keywords", "SELECT word, catcode, barelabel, catdesc, baredesc FROM pg_get_keywords() ORDER BY 1"),
    ("pg_description", """SELECT objoid, classoid, objsubid, description FROM pg_description
        WHERE classoid IN ('pg_operator'::regclass, 'pg_type'::regclass, 'pg_am'::regclass, 'pg_language'::regclass,
        'pg_collation'::regclass) AND objoid < 12000 ORDER BY 2, 1, 3"""),
]
for table, sql in TABLES:
    columns = subprocess.run([programs + "/psql", "-h", folder, "-U", user, "-d", "postgres", "-X", "-q", "-A", "-F", "\t", "-c",
                              f"SELECT * FROM ({sql}) q LIMIT 0"], check=True, capture_output=True, text=True).stdout
    print(f"== {table}\t{columns.splitlines()[0]}")
    print(query(sql), end="")

//! Which tables the catalog has, with their columns as PostgreSQL 16 declares them.

use std::sync::{Arc, LazyLock, OnceLock};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};

use super::cells::{CellColumn, CellType, Row};
use super::snapshot::Snapshot;
use super::{INFORMATION_SCHEMA, PG_CATALOG, information_schema, rows};

/// A table of the catalog.
#[derive(Debug)]
pub struct Definition {
    /// `pg_catalog` or `information_schema`.
    pub schema: &'static str,
    /// Its name.
    pub name: &'static str,
    /// PostgreSQL's oid where clients know it by heart.
    pub oid: u32,
    /// Its columns.
    pub columns: Vec<CellColumn>,
    /// The same for Arrow.
    pub arrow: SchemaRef,
    /// Its rows, unless they are built in.
    pub rows: fn(&Snapshot) -> Vec<Row>,
    /// Its rows when they are built in, once they have been asked for.
    pub fixed: OnceLock<RecordBatch>,
}

/// Every table of the catalog.
pub fn all() -> &'static [Definition] {
    static ALL: LazyLock<Vec<Definition>> = LazyLock::new(|| {
        let catalog = CATALOG.iter().map(|(name, oid, columns, rows)| (PG_CATALOG, *name, *oid, *columns, *rows));
        let standard = STANDARD.iter().map(|(name, columns, rows)| (INFORMATION_SCHEMA, *name, 0, *columns, *rows));
        catalog.chain(standard).enumerate().map(|(index, parts)| definition(index, parts)).collect()
    });
    &ALL
}

/// The rows of `pg_get_keywords()`, which is a function and no table of the catalog.
pub fn keywords() -> &'static Definition {
    static KEYWORDS: LazyLock<Definition> = LazyLock::new(|| {
        let columns = "word:text catcode:char barelabel:bool catdesc:text baredesc:text";
        definition(0, (PG_CATALOG, "pg_get_keywords", 0, columns, none))
    });
    &KEYWORDS
}

/// Oids of relations whose oid nobody knows by heart begin here.
const OTHER_OIDS: u32 = 12_000;

fn definition(
    index: usize,
    (schema, name, oid, columns, rows): (&'static str, &'static str, u32, &'static str, Rows),
) -> Definition {
    let oid = if oid == 0 { OTHER_OIDS + index as u32 } else { oid };
    let columns: Vec<CellColumn> = columns
        .split_whitespace()
        .map(|column| {
            let (name, word) = column.split_once(':').expect("every column is written name:type");
            CellColumn { name, cell_type: CellType::from_word(word) }
        })
        .collect();
    let fields: Vec<_> = columns.iter().map(|column| column.cell_type.field(column.name)).collect();
    Definition { schema, name, oid, columns, arrow: Arc::new(Schema::new(fields)), rows, fixed: OnceLock::new() }
}

type Rows = fn(&Snapshot) -> Vec<Row>;

/// Rows that are built in, and things we do not have: their table is empty, as in a PostgreSQL without them.
fn none(_: &Snapshot) -> Vec<Row> {
    Vec::new()
}

#[rustfmt::skip]
const CATALOG: &[(&str, u32, &str, Rows)] = &[
    ("pg_aggregate", 2600, "aggfnoid:oid aggkind:char aggnumdirectargs:int2 aggtransfn:oid aggfinalfn:oid aggsortop:oid aggtranstype:oid", none),
    ("pg_am", 2601, "tableoid:oid oid:oid amname:name amhandler:oid amtype:char", rows::am),
    ("pg_amop", 2602, "oid:oid amopfamily:oid amoplefttype:oid amoprighttype:oid amopstrategy:int2 amoppurpose:char amopopr:oid amopmethod:oid amopsortfamily:oid", none),
    ("pg_amproc", 2603, "oid:oid amprocfamily:oid amproclefttype:oid amprocrighttype:oid amprocnum:int2 amproc:oid", none),
    ("pg_attrdef", 2604, "oid:oid adrelid:oid adnum:int2 adbin:text", none),
    ("pg_attribute", 1249, "tableoid:oid attrelid:oid attname:name atttypid:oid attlen:int2 attnum:int2 attcacheoff:int4 atttypmod:int4 attndims:int2 attbyval:bool attalign:char attstorage:char attcompression:char attnotnull:bool atthasdef:bool atthasmissing:bool attidentity:char attgenerated:char attisdropped:bool attislocal:bool attinhcount:int2 attstattarget:int2 attcollation:oid attacl:text[] attoptions:text[] attfdwoptions:text[] attmissingval:text", rows::attribute),
    ("pg_auth_members", 1261, "oid:oid roleid:oid member:oid grantor:oid admin_option:bool inherit_option:bool set_option:bool", none),
    ("pg_authid", 1260, "oid:oid rolname:name rolsuper:bool rolinherit:bool rolcreaterole:bool rolcreatedb:bool rolcanlogin:bool rolreplication:bool rolbypassrls:bool rolconnlimit:int4 rolpassword:text rolvaliduntil:timestamptz", rows::roles),
    ("pg_available_extensions", 0, "name:name default_version:text installed_version:text comment:text", none),
    ("pg_cast", 2605, "oid:oid castsource:oid casttarget:oid castfunc:oid castcontext:char castmethod:char", none),
    ("pg_class", 1259, "tableoid:oid oid:oid relname:name relnamespace:oid reltype:oid reloftype:oid relowner:oid relam:oid relfilenode:oid reltablespace:oid relpages:int4 reltuples:float4 relallvisible:int4 reltoastrelid:oid relhasindex:bool relisshared:bool relpersistence:char relkind:char relnatts:int2 relchecks:int2 relhasrules:bool relhastriggers:bool relhassubclass:bool relrowsecurity:bool relforcerowsecurity:bool relispopulated:bool relreplident:char relispartition:bool relrewrite:oid relfrozenxid:int8 relminmxid:int8 relacl:text[] reloptions:text[] relpartbound:text", rows::class),
    ("pg_collation", 3456, "oid:oid collname:name collnamespace:oid collowner:oid collprovider:char collisdeterministic:bool collencoding:int4 collcollate:text collctype:text colliculocale:text collicurules:text collversion:text", rows::collation),
    ("pg_constraint", 2606, "tableoid:oid oid:oid conname:name connamespace:oid contype:char condeferrable:bool condeferred:bool convalidated:bool conrelid:oid contypid:oid conindid:oid conparentid:oid confrelid:oid confupdtype:char confdeltype:char confmatchtype:char conislocal:bool coninhcount:int2 connoinherit:bool conkey:int[] confkey:int[] conpfeqop:int[] conppeqop:int[] conffeqop:int[] confdelsetcols:int[] conexclop:int[] conbin:text", none),
    ("pg_conversion", 2607, "tableoid:oid oid:oid conname:name connamespace:oid conowner:oid conforencoding:int4 contoencoding:int4 conproc:oid condefault:bool", none),
    ("pg_database", 1262, "tableoid:oid oid:oid datname:name datdba:oid encoding:int4 datlocprovider:char datistemplate:bool datallowconn:bool datconnlimit:int4 datfrozenxid:int8 datminmxid:int8 dattablespace:oid datcollate:text datctype:text daticulocale:text daticurules:text datcollversion:text datacl:text[]", rows::database),
    ("pg_db_role_setting", 2964, "setdatabase:oid setrole:oid setconfig:text[]", none),
    ("pg_default_acl", 826, "oid:oid defaclrole:oid defaclnamespace:oid defaclobjtype:char defaclacl:text[]", none),
    ("pg_depend", 2608, "classid:oid objid:oid objsubid:int4 refclassid:oid refobjid:oid refobjsubid:int4 deptype:char", none),
    ("pg_description", 2609, "objoid:oid classoid:oid objsubid:int4 description:text", rows::description),
    ("pg_enum", 3501, "oid:oid enumtypid:oid enumsortorder:float4 enumlabel:name", none),
    ("pg_event_trigger", 3466, "oid:oid evtname:name evtevent:name evtowner:oid evtfoid:oid evtenabled:char evttags:text[]", none),
    ("pg_extension", 3079, "oid:oid extname:name extowner:oid extnamespace:oid extrelocatable:bool extversion:text extconfig:int[] extcondition:text[]", none),
    ("pg_foreign_data_wrapper", 2328, "oid:oid fdwname:name fdwowner:oid fdwhandler:oid fdwvalidator:oid fdwacl:text[] fdwoptions:text[]", none),
    ("pg_foreign_server", 1417, "oid:oid srvname:name srvowner:oid srvfdw:oid srvtype:text srvversion:text srvacl:text[] srvoptions:text[]", none),
    ("pg_foreign_table", 3118, "ftrelid:oid ftserver:oid ftoptions:text[]", none),
    ("pg_index", 2610, "indexrelid:oid indrelid:oid indnatts:int2 indnkeyatts:int2 indisunique:bool indnullsnotdistinct:bool indisprimary:bool indisexclusion:bool indimmediate:bool indisclustered:bool indisvalid:bool indcheckxmin:bool indisready:bool indislive:bool indisreplident:bool indkey:int[] indcollation:int[] indclass:int[] indoption:int[] indexprs:text indpred:text", none),
    ("pg_indexes", 0, "schemaname:name tablename:name indexname:name tablespace:name indexdef:text", none),
    ("pg_inherits", 2611, "inhrelid:oid inhparent:oid inhseqno:int4 inhdetachpending:bool", none),
    ("pg_language", 2612, "tableoid:oid oid:oid lanname:name lanowner:oid lanispl:bool lanpltrusted:bool lanplcallfoid:oid laninline:oid lanvalidator:oid lanacl:text[]", none),
    ("pg_largeobject_metadata", 2995, "oid:oid lomowner:oid lomacl:text[]", none),
    ("pg_locks", 0, "locktype:text database:oid relation:oid page:int4 tuple:int2 virtualxid:text transactionid:int8 classid:oid objid:oid objsubid:int2 virtualtransaction:text pid:int4 mode:text granted:bool fastpath:bool waitstart:timestamptz", none),
    ("pg_matviews", 0, "schemaname:name matviewname:name matviewowner:name tablespace:name hasindexes:bool ispopulated:bool definition:text", none),
    ("pg_namespace", 2615, "tableoid:oid oid:oid nspname:name nspowner:oid nspacl:text[]", rows::namespace),
    ("pg_opclass", 2616, "tableoid:oid oid:oid opcmethod:oid opcname:name opcnamespace:oid opcowner:oid opcfamily:oid opcintype:oid opcdefault:bool opckeytype:oid", none),
    ("pg_operator", 2617, "tableoid:oid oid:oid oprname:name oprnamespace:oid oprowner:oid oprkind:char oprcanmerge:bool oprcanhash:bool oprleft:oid oprright:oid oprresult:oid oprcom:oid oprnegate:oid oprcode:oid oprrest:oid oprjoin:oid", none),
    ("pg_opfamily", 2753, "tableoid:oid oid:oid opfmethod:oid opfname:name opfnamespace:oid opfowner:oid", none),
    ("pg_parameter_acl", 6243, "oid:oid parname:text paracl:text[]", none),
    ("pg_partitioned_table", 3350, "partrelid:oid partstrat:char partnatts:int2 partdefid:oid partattrs:int[] partclass:int[] partcollation:int[] partexprs:text", none),
    ("pg_policies", 0, "schemaname:name tablename:name policyname:name permissive:text roles:text[] cmd:text qual:text with_check:text", none),
    ("pg_policy", 3256, "oid:oid polname:name polrelid:oid polcmd:char polpermissive:bool polroles:int[] polqual:text polwithcheck:text", none),
    ("pg_proc", 1255, "tableoid:oid oid:oid proname:name pronamespace:oid proowner:oid prolang:oid procost:float4 prorows:float4 provariadic:oid prosupport:oid prokind:char prosecdef:bool proleakproof:bool proisstrict:bool proretset:bool provolatile:char proparallel:char pronargs:int2 pronargdefaults:int2 prorettype:oid proargtypes:int[] proallargtypes:int[] proargmodes:text[] proargnames:text[] proargdefaults:text protrftypes:int[] prosrc:text probin:text prosqlbody:text proconfig:text[] proacl:text[]", none),
    ("pg_publication", 6104, "oid:oid pubname:name pubowner:oid puballtables:bool pubinsert:bool pubupdate:bool pubdelete:bool pubtruncate:bool pubviaroot:bool", none),
    ("pg_publication_namespace", 6237, "oid:oid pnpubid:oid pnnspid:oid", none),
    ("pg_publication_rel", 6106, "oid:oid prpubid:oid prrelid:oid prqual:text prattrs:int[]", none),
    ("pg_publication_tables", 0, "pubname:name schemaname:name tablename:name attnames:text[] rowfilter:text", none),
    ("pg_range", 3541, "rngtypid:oid rngsubtype:oid rngmultitypid:oid rngcollation:oid rngsubopc:oid rngcanonical:oid rngsubdiff:oid", none),
    ("pg_replication_origin", 6000, "roident:oid roname:text", none),
    ("pg_rewrite", 2618, "tableoid:oid oid:oid rulename:name ev_class:oid ev_type:char ev_enabled:char is_instead:bool ev_qual:text ev_action:text", none),
    ("pg_roles", 0, "rolname:name rolsuper:bool rolinherit:bool rolcreaterole:bool rolcreatedb:bool rolcanlogin:bool rolreplication:bool rolconnlimit:int4 rolpassword:text rolvaliduntil:timestamptz rolbypassrls:bool rolconfig:text[] oid:oid", rows::roles),
    ("pg_rules", 0, "schemaname:name tablename:name rulename:name definition:text", none),
    ("pg_seclabel", 3596, "objoid:oid classoid:oid objsubid:int4 provider:text label:text", none),
    ("pg_sequence", 2224, "seqrelid:oid seqtypid:oid seqstart:int8 seqincrement:int8 seqmax:int8 seqmin:int8 seqcache:int8 seqcycle:bool", none),
    ("pg_sequences", 0, "schemaname:name sequencename:name sequenceowner:name data_type:text start_value:int8 min_value:int8 max_value:int8 increment_by:int8 cycle:bool cache_size:int8 last_value:int8", none),
    ("pg_settings", 0, "name:text setting:text unit:text category:text short_desc:text extra_desc:text context:text vartype:text source:text min_val:text max_val:text enumvals:text[] boot_val:text reset_val:text sourcefile:text sourceline:int4 pending_restart:bool", rows::settings),
    ("pg_shdepend", 1214, "dbid:oid classid:oid objid:oid objsubid:int4 refclassid:oid refobjid:oid deptype:char", none),
    ("pg_shdescription", 2396, "objoid:oid classoid:oid description:text", none),
    ("pg_stat_activity", 0, "datid:oid datname:name pid:int4 leader_pid:int4 usesysid:oid usename:name application_name:text client_addr:text client_hostname:text client_port:int4 backend_start:timestamptz xact_start:timestamptz query_start:timestamptz state_change:timestamptz wait_event_type:text wait_event:text state:text backend_xid:int8 backend_xmin:int8 query_id:int8 query:text backend_type:text", rows::stat_activity),
    ("pg_stat_ssl", 0, "pid:int4 ssl:bool version:text cipher:text bits:int4 client_dn:text client_serial:text issuer_dn:text", none),
    ("pg_stat_user_tables", 0, "relid:oid schemaname:name relname:name seq_scan:int8 n_live_tup:int8 n_dead_tup:int8", rows::stat_user_tables),
    ("pg_statistic_ext", 3381, "oid:oid stxrelid:oid stxname:name stxnamespace:oid stxowner:oid stxstattarget:int4 stxkeys:int[] stxkind:text[] stxexprs:text", none),
    ("pg_subscription", 6100, "oid:oid subdbid:oid subname:name subowner:oid subenabled:bool subbinary:bool substream:char subtwophasestate:char subdisableonerr:bool subpasswordrequired:bool subrunasowner:bool subconninfo:text subslotname:name subsynccommit:text subpublications:text[] suborigin:text subskiplsn:text", none),
    ("pg_tables", 0, "schemaname:name tablename:name tableowner:name tablespace:name hasindexes:bool hasrules:bool hastriggers:bool rowsecurity:bool", rows::tables),
    ("pg_tablespace", 1213, "tableoid:oid oid:oid spcname:name spcowner:oid spcacl:text[] spcoptions:text[]", rows::tablespace),
    ("pg_trigger", 2620, "tableoid:oid oid:oid tgrelid:oid tgparentid:oid tgname:name tgfoid:oid tgtype:int2 tgenabled:char tgisinternal:bool tgconstrrelid:oid tgconstrindid:oid tgconstraint:oid tgdeferrable:bool tginitdeferred:bool tgnargs:int2 tgattr:int[] tgargs:text tgqual:text tgoldtable:name tgnewtable:name", none),
    ("pg_ts_config", 3602, "oid:oid cfgname:name cfgnamespace:oid cfgowner:oid cfgparser:oid", none),
    ("pg_ts_dict", 3600, "oid:oid dictname:name dictnamespace:oid dictowner:oid dicttemplate:oid dictinitoption:text", none),
    ("pg_ts_parser", 3601, "oid:oid prsname:name prsnamespace:oid prsstart:oid prstoken:oid prsend:oid prsheadline:oid prslextype:oid", none),
    ("pg_ts_template", 3764, "oid:oid tmplname:name tmplnamespace:oid tmplinit:oid tmpllexize:oid", none),
    ("pg_type", 1247, "tableoid:oid oid:oid typname:name typnamespace:oid typowner:oid typlen:int2 typbyval:bool typtype:char typcategory:char typispreferred:bool typisdefined:bool typdelim:char typrelid:oid typsubscript:oid typelem:oid typarray:oid typinput:oid typoutput:oid typreceive:oid typsend:oid typmodin:oid typmodout:oid typanalyze:oid typalign:char typstorage:char typnotnull:bool typbasetype:oid typtypmod:int4 typndims:int4 typcollation:oid typdefaultbin:text typdefault:text typacl:text[]", none),
    ("pg_user", 0, "usename:name usesysid:oid usecreatedb:bool usesuper:bool userepl:bool usebypassrls:bool passwd:text valuntil:timestamptz useconfig:text[]", rows::users),
    ("pg_user_mapping", 1418, "oid:oid umuser:oid umserver:oid umoptions:text[]", none),
    ("pg_user_mappings", 0, "umid:oid srvid:oid srvname:name umuser:oid usename:name umoptions:text[]", none),
    ("pg_views", 0, "schemaname:name viewname:name viewowner:name definition:text", rows::views),
];

#[rustfmt::skip]
const STANDARD: &[(&str, &str, Rows)] = &[
    ("schemata", "catalog_name:name schema_name:name schema_owner:name default_character_set_catalog:name default_character_set_schema:name default_character_set_name:name sql_path:text", information_schema::schemata),
    ("tables", "table_catalog:name table_schema:name table_name:name table_type:text self_referencing_column_name:name reference_generation:text user_defined_type_catalog:name user_defined_type_schema:name user_defined_type_name:name is_insertable_into:text is_typed:text commit_action:text", information_schema::tables),
    ("columns", "table_catalog:name table_schema:name table_name:name column_name:name ordinal_position:int4 column_default:text is_nullable:text data_type:text character_maximum_length:int4 character_octet_length:int4 numeric_precision:int4 numeric_precision_radix:int4 numeric_scale:int4 datetime_precision:int4 interval_type:text interval_precision:int4 character_set_catalog:name character_set_schema:name character_set_name:name collation_catalog:name collation_schema:name collation_name:name domain_catalog:name domain_schema:name domain_name:name udt_catalog:name udt_schema:name udt_name:name scope_catalog:name scope_schema:name scope_name:name maximum_cardinality:int4 dtd_identifier:name is_self_referencing:text is_identity:text identity_generation:text identity_start:text identity_increment:text identity_maximum:text identity_minimum:text identity_cycle:text is_generated:text generation_expression:text is_updatable:text", information_schema::columns),
    ("views", "table_catalog:name table_schema:name table_name:name view_definition:text check_option:text is_updatable:text is_insertable_into:text is_trigger_updatable:text is_trigger_deletable:text is_trigger_insertable_into:text", information_schema::views),
    ("table_constraints", "constraint_catalog:name constraint_schema:name constraint_name:name table_catalog:name table_schema:name table_name:name constraint_type:text is_deferrable:text initially_deferred:text enforced:text nulls_distinct:text", none),
    ("key_column_usage", "constraint_catalog:name constraint_schema:name constraint_name:name table_catalog:name table_schema:name table_name:name column_name:name ordinal_position:int4 position_in_unique_constraint:int4", none),
    ("referential_constraints", "constraint_catalog:name constraint_schema:name constraint_name:name unique_constraint_catalog:name unique_constraint_schema:name unique_constraint_name:name match_option:text update_rule:text delete_rule:text", none),
    ("routines", "specific_catalog:name specific_schema:name specific_name:name routine_catalog:name routine_schema:name routine_name:name routine_type:text data_type:text routine_definition:text", none),
    ("triggers", "trigger_catalog:name trigger_schema:name trigger_name:name event_manipulation:text event_object_catalog:name event_object_schema:name event_object_table:name action_statement:text", none),
    ("sequences", "sequence_catalog:name sequence_schema:name sequence_name:name data_type:text", none),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oids_and_names_are_unique() {
        let mut names: Vec<_> = all().iter().map(|table| (table.schema, table.name)).collect();
        let mut oids: Vec<_> = all().iter().map(|table| table.oid).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        oids.sort();
        oids.dedup();
        assert_eq!((names.len(), oids.len()), (count, count));
    }
}

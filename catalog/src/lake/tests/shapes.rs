//! Tables: what is there, and how it changes.

use super::*;

/// Columns of the DuckLake specification, in order: other programs insert by position.
const DUCKLAKE_COLUMNS: &str = include_str!("ducklake-columns.txt");

#[test]
fn the_tables_are_exactly_those_of_ducklake() {
    on_both(async |place| {
        let lake = place.lake("/data/").await;
        let query = match &place {
            Place::Sqlite(_) => {
                "SELECT m.name, c.name FROM sqlite_schema m JOIN pragma_table_info(m.name) c
                 WHERE m.type = 'table' AND m.name LIKE 'ducklake%' ORDER BY m.name, c.cid"
            }
            Place::Postgres { .. } => {
                "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns
                 WHERE table_schema = 'lake' AND table_name LIKE 'ducklake%'
                 ORDER BY table_name COLLATE \"C\", ordinal_position"
            }
        };
        let mut transaction = lake.inner.database.read("look").await.unwrap();
        let mut found = std::collections::BTreeMap::<String, Vec<String>>::new();
        for row in transaction.rows(query, vec![]).await.unwrap() {
            found.entry(row.get(0).unwrap()).or_default().push(row.get(1).unwrap());
        }
        assert_eq!(found.len(), 28);
        let listed: String = found.iter().map(|(table, columns)| format!("{table}: {}\n", columns.join(" "))).collect();
        assert_eq!(listed, DUCKLAKE_COLUMNS);
    });
}

#[test]
fn a_table_is_as_it_was_asked_for_and_its_name_is_taken() {
    on_both(async |place| {
        let lake = place.lake("/data/").await;
        let settings = TableSettings { retention_seconds: Some(60), bytes_max: Some(1 << 40) };
        let mut every_type = definition("every_type");
        let columns = SqlType::all().chain(SqlType::all().filter_map(SqlType::array));
        let columns = columns.map(|sql_type| Column::new(format!("c_{sql_type:?}"), sql_type, true, "a type"));
        every_type.columns.extend(columns);
        let table = lake.create_table(every_type.clone(), settings).await.unwrap();
        assert_eq!(table.definition, every_type);
        assert_eq!(table.settings, settings);
        assert_eq!(table.column_ids, (1..=36).collect::<Vec<i64>>());

        let health = TableDefinition {
            name: TableName::system("probe_health"),
            kind: TableKind::Health,
            comment: None,
            ..definition("")
        };
        let system = lake.create_table(health.clone(), TableSettings::default()).await.unwrap();
        assert_eq!(system.path, "system/probe_health/");
        assert_eq!(system.definition, health);
        assert_eq!(place.lake("/data/").await.manifest(), lake.manifest());

        let taken = lake.create_table(every_type, settings).await;
        assert!(matches!(taken, Err(CatalogError::TableExists(name)) if name == TableName::public("every_type")));
        let mut twice = definition("twice");
        twice.columns.push(twice.columns[1].clone());
        let twice = lake.create_table(twice, settings).await;
        assert!(matches!(twice, Err(CatalogError::ColumnExists { column, .. }) if column == "pid"));
        let mut timeless = definition("timeless");
        timeless.columns.remove(0);
        let timeless = lake.create_table(timeless, settings).await;
        assert!(matches!(timeless, Err(CatalogError::InvalidTable(_))));
    });
}

#[test]
fn names_that_are_no_plain_words_do_not_reach_paths() {
    on_both(async |place| {
        let lake = place.lake("/data/").await;
        let odd = lake.create_table(definition("../\"Größe\""), TableSettings::default()).await.unwrap();
        assert_eq!(odd.path, format!("main/table-{}/", odd.id));
        let outside = NewSegment { path: "main/other/a.parquet".into(), ..segment(&odd, "a", 1, 1) };
        let refused = lake.commit(commit_of(0, 1, vec![(&odd, outside)])).await;
        assert!(matches!(refused, Err(CatalogError::SegmentPath { .. })));
        assert_eq!(lake.refresh().await.unwrap().committed("node"), 0);
    });
}

#[test]
fn a_table_changes_and_keeps_its_segments() {
    on_both(async |place| {
        let (lake, table) = lake_with_table(&place).await;
        lake.commit(commit_of(0, 5, vec![(&table, segment(&table, "a.parquet", 3, 1))])).await.unwrap();
        let other = lake.create_table(definition("other"), TableSettings::default()).await.unwrap();

        let added = vec![Column::new("uid", SqlType::BigInt, true, "user")];
        let wider = lake.add_columns(table.id, added.clone()).await.unwrap();
        assert_eq!(wider.column_ids, [1, 2, 3, 4]);
        assert_eq!(wider.definition.columns[3], added[0]);
        assert!(matches!(lake.add_columns(table.id, added).await, Err(CatalogError::ColumnExists { .. })));
        let strict = vec![Column::new("gid", SqlType::BigInt, false, "group")];
        assert!(matches!(lake.add_columns(table.id, strict).await, Err(CatalogError::InvalidTable(_))));

        let renamed = lake.rename_table(table.id, "renamed").await.unwrap();
        assert_eq!((renamed.definition.name.name.as_str(), renamed.path.as_str()), ("renamed", "main/t/"));
        assert_eq!(renamed.definition.comment, table.definition.comment);
        assert!(matches!(lake.rename_table(table.id, "other").await, Err(CatalogError::TableExists(_))));

        let settings = TableSettings { retention_seconds: Some(1), bytes_max: None };
        let set = lake.set_table_settings(table.id, settings).await.unwrap();
        assert_eq!(set.settings, settings);
        assert_eq!(set.segments.len(), 1);
        assert_eq!(place.lake("/data/").await.manifest(), lake.manifest());

        lake.drop_table(table.id).await.unwrap();
        assert_eq!(lake.manifest().tables.keys().collect::<Vec<_>>(), [&other.definition.name]);
        let late = lake.commit(commit_of(5, 6, vec![(&table, segment(&table, "b.parquet", 3, 1))])).await;
        assert!(matches!(late, Err(CatalogError::UnknownTable(id)) if id == table.id));
        assert!(matches!(lake.drop_table(table.id).await, Err(CatalogError::UnknownTable(_))));
    });
}

//! Schemas, views and comments.

use super::*;
use crate::error::CatalogError;
use crate::lake::Commented;
use crate::manifest::{ViewColumn, ViewDefinition};

fn view(sql: &str, reads: Vec<i64>) -> ViewDefinition {
    let column = ViewColumn { name: "a".into(), sql_type: "integer".into(), comment: None };
    ViewDefinition { sql: sql.into(), lake_sql: sql.to_uppercase(), columns: vec![column], reads }
}

fn in_schema(schema: &str, name: &str) -> TableName {
    TableName { schema: schema.into(), name: name.into() }
}

#[test]
fn schemas_hold_tables_and_views_and_go_with_them() {
    on_both(async |place| {
        let lake = place.lake("/data/").await;
        lake.create_schema("my schema").await.unwrap();
        let again = lake.create_schema("my schema").await;
        assert!(matches!(again, Err(CatalogError::SchemaExists(name)) if name == "my schema"));
        let mut listed = definition("t");
        listed.name = in_schema("my schema", "t");
        listed.kind = TableKind::Inserted;
        listed.columns = vec![Column::new("tags", SqlType::Text.array().unwrap(), true, "a list")];
        let table = lake.create_table(listed.clone(), TableSettings::default()).await.unwrap();
        assert_eq!((&table.definition, &table.column_ids), (&listed, &vec![1]));
        assert!(table.path.starts_with("schema-"), "{}", table.path);
        let name = in_schema("my schema", "v");
        lake.create_view(&name, &view("select 1 as a", vec![table.id.0])).await.unwrap();
        let taken = lake.create_view(&in_schema("my schema", "t"), &view("select 1", vec![])).await;
        assert!(matches!(taken, Err(CatalogError::TableExists(_))));
        lake.create_view(&TableName::public("outside"), &view("select 2 as a", vec![table.id.0])).await.unwrap();
        let nowhere = lake.create_view(&in_schema("nowhere", "v"), &view("select 1", vec![])).await;
        assert!(matches!(nowhere, Err(CatalogError::UnknownSchema(_))));
        assert_eq!(place.lake("/data/").await.manifest(), lake.manifest());

        let dependents = lake.manifest().dependents(&[table.id.0]);
        assert_eq!(dependents.iter().map(|view| view.name.to_string()).collect::<Vec<_>>(), ["my schema.v", "outside"]);
        let held = lake.drop_schema("my schema", false, &[]).await;
        assert!(matches!(held, Err(CatalogError::SchemaNotEmpty { .. })));
        let outside = lake.manifest().views[&TableName::public("outside")].id;
        lake.drop_schema("my schema", true, &[outside]).await.unwrap();
        let manifest = lake.manifest();
        assert!(manifest.tables.is_empty() && manifest.views.is_empty());
        assert_eq!(manifest.schemas.keys().collect::<Vec<_>>(), ["public"]);
        assert_eq!(place.lake("/data/").await.manifest(), manifest);
    });
}

#[test]
fn views_are_replaced_and_comments_stay_until_they_are_taken_back() {
    on_both(async |place| {
        let (lake, table) = lake_with_table(&place).await;
        let name = TableName::public("v");
        lake.create_view(&name, &view("select 1 as a", vec![])).await.unwrap();
        let made = lake.manifest().views[&name].clone();
        lake.comment(Commented::View(made.id), Some("a view")).await.unwrap();
        lake.replace_view(&made, &view("select 2 as a", vec![table.id.0])).await.unwrap();
        lake.comment(Commented::ViewColumn(made.id, 1), Some("a number")).await.unwrap();
        let replaced = lake.manifest().views[&name].clone();
        assert_eq!((replaced.id, replaced.comment.as_deref()), (made.id, Some("a view")));
        assert_eq!(replaced.definition.sql, "select 2 as a");
        assert_eq!(replaced.definition.columns[0].comment.as_deref(), Some("a number"));

        let public = lake.manifest().schemas["public"].id;
        lake.comment(Commented::Schema(public), Some("everybody's")).await.unwrap();
        lake.comment(Commented::Table(table.id), Some("first")).await.unwrap();
        lake.comment(Commented::Table(table.id), Some("second")).await.unwrap();
        lake.comment(Commented::Column(table.id, table.column_ids[1]), None).await.unwrap();
        let manifest = place.lake("/data/").await.manifest();
        assert_eq!(manifest, lake.manifest());
        assert_eq!(manifest.schemas["public"].comment.as_deref(), Some("everybody's"));
        let table = manifest.table(table.id).unwrap();
        assert_eq!(table.definition.comment.as_deref(), Some("second"));
        let comments: Vec<_> = table.definition.columns.iter().map(|column| column.comment.as_deref()).collect();
        assert_eq!(comments, [Some("when it happened"), None, Some("peer")]);
        lake.drop_relations(&[table.id], &[made.id]).await.unwrap();
        assert!(lake.manifest().views.is_empty() && lake.manifest().tables.is_empty());
    });
}

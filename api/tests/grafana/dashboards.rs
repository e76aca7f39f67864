//! The dashboards of `deploy/grafana`, as their files are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::macros::Value;

/// Where the files are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/grafana")
}

/// A dashboard.
#[derive(Debug)]
pub struct Dashboard {
    /// The file's name without its end.
    pub name: String,
    /// The file.
    pub json: Json,
}

/// A query of a dashboard.
#[derive(Clone, Debug)]
pub struct Query {
    /// Where it stands: the dashboard and the panel's title, or `variable` or `annotation` and its name.
    pub place: String,
    /// What draws it: a panel's type, `variable` or `annotation`.
    pub kind: String,
    /// `table` or `time_series`; of a node graph's two queries, `nodes` and `edges`.
    pub format: String,
    /// The text as it is written, with macros and variables.
    pub sql: String,
    /// What the panel says of itself.
    pub description: String,
}

/// Every dashboard, in the order of their names.
pub fn all() -> Vec<Dashboard> {
    let files = std::fs::read_dir(folder().join("dashboards")).expect("the dashboards are part of the tree");
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let read = |path: &PathBuf| Dashboard {
        name: path.file_stem().unwrap().to_string_lossy().into_owned(),
        json: serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap(),
    };
    paths.iter().map(read).collect()
}

fn text(json: &Json, key: &str) -> String {
    json[key].as_str().unwrap_or_default().to_owned()
}

fn list(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

impl Dashboard {
    /// Its panels without the rows that only part them.
    pub fn panels(&self) -> impl Iterator<Item = &Json> {
        list(&self.json["panels"]).iter().filter(|panel| panel["type"] != "row")
    }

    /// Its variables.
    pub fn variables(&self) -> &[Json] {
        list(&self.json["templating"]["list"])
    }

    /// The queries of its variables, by the variable's name.
    pub fn variable_queries(&self) -> Vec<(String, Query)> {
        let asked = self.variables().iter().filter(|variable| variable["type"] == "query");
        asked
            .map(|variable| {
                let name = text(variable, "name");
                let query = Query {
                    place: format!("{}: variable {name}", self.name),
                    kind: "variable".to_owned(),
                    format: "table".to_owned(),
                    sql: text(variable, "query"),
                    description: text(variable, "description"),
                };
                (name, query)
            })
            .collect()
    }

    /// The queries of its panels and annotations.
    pub fn queries(&self) -> Vec<Query> {
        let mut queries = Vec::new();
        for panel in self.panels() {
            let (kind, title) = (text(panel, "type"), text(panel, "title"));
            for target in list(&panel["targets"]) {
                let node_graph = kind == "nodeGraph";
                queries.push(Query {
                    place: format!("{}: {title}", self.name),
                    kind: kind.clone(),
                    format: text(target, if node_graph { "refId" } else { "format" }),
                    sql: text(target, "rawSql"),
                    description: text(panel, "description"),
                });
            }
        }
        for annotation in list(&self.json["annotations"]["list"]) {
            queries.push(Query {
                place: format!("{}: annotation {}", self.name, text(annotation, "name")),
                kind: "annotation".to_owned(),
                format: text(&annotation["target"], "format"),
                sql: text(&annotation["target"], "rawSql"),
                description: String::new(),
            });
        }
        queries
    }

    /// The variables that no query fills, as they are when the dashboard is opened.
    pub fn defaults(&self) -> BTreeMap<String, Value> {
        let fixed = self.variables().iter().filter(|variable| variable["type"] != "query");
        fixed.map(|variable| (text(variable, "name"), Value::One(text(&variable["current"], "value")))).collect()
    }

    /// The choice `All` of each variable that has it.
    pub fn every(&self) -> BTreeMap<String, Value> {
        let open = self.variables().iter().filter(|variable| variable["includeAll"] == true);
        open.map(|variable| (text(variable, "name"), Value::All(text(variable, "allValue")))).collect()
    }
}

//! The description of Azure's resources: grammar, names, parameters, and what azd gives for them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Value, json};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn template() -> String {
    read("infra/main.bicep")
}

/// All nodes of a tree, the root first.
fn nodes<'t>(root: tree_sitter::Node<'t>) -> Vec<tree_sitter::Node<'t>> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(node) = found.get(next).copied() {
        next += 1;
        let mut cursor = node.walk();
        found.extend(node.children(&mut cursor));
    }
    found
}

/// What is wrong with a Bicep file, as far as grammar and names tell.
fn problems(source: &str) -> Vec<String> {
    let mut parser = tree_sitter::Parser::new();
    parser.set_language(&tree_sitter_bicep::LANGUAGE.into()).expect("the grammar fits the parser");
    let tree = parser.parse(source, None).expect("no time limit is set");
    let nodes = nodes(tree.root_node());
    let name = |node: &tree_sitter::Node<'_>| source[node.byte_range()].to_owned();
    let at = |node: &tree_sitter::Node<'_>| {
        format!(
            "line {}: {}",
            node.start_position().row + 1,
            name(node).lines().next().unwrap_or_default()
        )
    };
    let mut found: Vec<String> = nodes
        .iter()
        .filter(|node| node.is_error() || node.is_missing())
        .map(|node| format!("no Bicep, {}", at(node)))
        .collect();
    let named = |kinds: &[&str]| -> BTreeSet<String> {
        let declarations = nodes.iter().filter(|node| kinds.contains(&node.kind()));
        declarations
            .filter_map(|node| {
                node.named_children(&mut node.walk())
                    .find(|child| child.kind() == "identifier")
                    .map(|child| name(&child))
            })
            .collect()
    };
    let mut declared = named(&[
        "parameter_declaration",
        "variable_declaration",
        "resource_declaration",
        "output_declaration",
        "module_declaration",
    ]);
    for lambda in nodes.iter().filter(|node| node.kind() == "lambda_expression") {
        declared.extend(
            lambda.named_child(0).into_iter().flat_map(nodes_of_names).map(|node| name(&node)),
        );
    }
    let functions = [
        "resourceGroup",
        "subscription",
        "tenant",
        "guid",
        "toLower",
        "uniqueString",
        "subscriptionResourceId",
        "union",
        "items",
        "reduce",
    ];
    let more = ["loadTextContent", "empty", "environment", "map", "concat", "json", "split"];
    let functions = [functions.as_slice(), &more].concat();
    let decorators =
        ["description", "allowed", "minLength", "maxLength", "minValue", "maxValue", "secure"];
    for node in nodes.iter().filter(|node| node.kind() == "identifier") {
        let parent = node.parent().expect("an identifier stands in something");
        let is_first = parent.named_child(0).is_some_and(|first| first.id() == node.id());
        let is_key = parent.kind() == "object_property" && is_first;
        let is_called = parent.kind() == "call_expression" && is_first;
        let name = name(node);
        let is_known = if is_called {
            functions.contains(&name.as_str()) || decorators.contains(&name.as_str())
        } else {
            is_key || declared.contains(&name)
        };
        if !is_known {
            found.push(format!("declared nowhere, {}", at(node)));
        }
    }
    let used = |declaration: &String| {
        nodes
            .iter()
            .filter(|node| node.kind() == "identifier" && name(node) == *declaration)
            .count()
            > 1
    };
    found.extend(
        named(&["parameter_declaration", "variable_declaration"])
            .iter()
            .filter(|name| !used(name))
            .map(|name| format!("never used: {name}")),
    );
    found
}

fn nodes_of_names(node: tree_sitter::Node<'_>) -> Vec<tree_sitter::Node<'_>> {
    nodes(node).into_iter().filter(|node| node.kind() == "identifier").collect()
}

#[test]
fn a_job_of_container_apps_is_described_in_bicep_with_names_that_exist() {
    let source = read("deploy/container-apps-job.bicep");
    assert_eq!(problems(&source), [] as [String; 0]);
    // Freed memory is given back soon, wherever we say how the program is started.
    for path in ["Dockerfile", "deploy/blobferry.service"] {
        assert!(read(path).contains("MIMALLOC_PURGE_DELAY=10"), "{path}");
    }
    assert!(template().contains("MIMALLOC_PURGE_DELAY: '10'"));
    // The image starts a run by these words, and reads its settings there.
    let image = read("Dockerfile");
    let text = resource(&source, "job");
    assert!(image.contains("BLOBFERRY_CONFIG=/etc/blobferry/ingest.toml"), "{image}");
    assert!(text.contains("mountPath: '/etc/blobferry'") && text.contains("path: 'ingest.toml'"));
    assert!(text.contains("args: ['run', '--quiet']"));
    let pods = read("deploy/kubernetes.yaml");
    for line in ["mountPath: /etc/blobferry", "args: [\"run\", \"--quiet\"]", "mountPath: /tmp"] {
        assert!(pods.contains(line), "{line}");
    }
    // Kubernetes asks for a number, to see that the user is not root.
    assert!(pods.contains("runAsNonRoot: true"));
    let user = image.lines().find_map(|line| line.strip_prefix("USER ")).expect("a user");
    let id = user.split(':').next().and_then(|id| id.parse::<u32>().ok());
    assert!(id.is_some_and(|id| id > 0), "{user}");
    // Examples name the image of this release.
    let tag = concat!("blobferry:", env!("CARGO_PKG_VERSION"));
    for path in ["deploy/kubernetes.yaml", "deploy/container-apps-job.bicep", "docs/deployment.md"]
    {
        assert!(read(path).contains(tag), "{path}");
    }
}

#[test]
fn the_resources_in_azure_are_described_in_bicep_with_names_that_exist() {
    let source = template();
    assert_eq!(problems(&source), [] as [String; 0]);
    // The check can fail.
    assert!(
        problems(&source.replacen("principalId: identity.", "principalId: identiti.", 1))[0]
            .starts_with("declared nowhere")
    );
    assert!(!problems(&source.replacen("properties: {", "properties: ", 1)).is_empty());
    assert_eq!(problems(&format!("{source}\nvar idle = 1\n")), ["never used: idle"]);
    for role in [
        "blobDataOwner",
        "blobDataContributor",
        "queueDataContributor",
        "tableDataContributor",
        "monitoringMetricsPublisher",
        "keyVaultSecretsUser",
    ] {
        assert!(
            source.contains(&format!("roleDefinitions', {role})")),
            "{role} is given to nobody"
        );
    }
    assert_eq!(
        source.matches("allowSharedKeyAccess: false").count(),
        source.matches("'Microsoft.Storage/storageAccounts@").count()
    );
}

/// A parameter of the template.
#[derive(Debug, PartialEq)]
struct Parameter {
    kind: String,
    default: Option<String>,
}

/// The parameters, by name.
fn parameters(source: &str) -> BTreeMap<String, Parameter> {
    let lines = source.lines().filter_map(|line| line.strip_prefix("param "));
    let parameter = |line: &str| {
        let (declared, default) = line
            .split_once(" = ")
            .map_or((line, None), |(declared, value)| (declared, Some(value)));
        let (name, kind) = declared.split_once(' ').expect("a name and a type");
        let default = default.map(|value| value.trim_matches('\'').to_owned());
        (name.to_owned(), Parameter { kind: kind.to_owned(), default })
    };
    lines.map(parameter).collect()
}

/// The variable that azd fills in for each parameter, and what it takes where that is not set.
fn given() -> BTreeMap<String, (String, Option<String>)> {
    let file: Value = serde_json::from_str(&read("infra/main.parameters.json")).unwrap();
    let parameters = file["parameters"].as_object().expect("parameters");
    let variable = |(name, parameter): (&String, &Value)| {
        let text = parameter["value"].as_str().unwrap_or_default();
        let inner = text.strip_prefix("${").and_then(|text| text.strip_suffix('}'));
        let inner = inner.unwrap_or_else(|| panic!("{name} can be set in this file alone: {text}"));
        let (variable, default) = inner
            .split_once('=')
            .map_or((inner, None), |(variable, default)| (variable, Some(default.to_owned())));
        (name.clone(), (variable.to_owned(), default))
    };
    parameters.iter().map(variable).collect()
}

/// Whether the substitution that azd makes for a parameter of such a type can give it.
///
/// azd puts the text of an environment variable into the JSON of a parameter as it stands, quotes
/// and all; the text for an object or an array alone is read as JSON of its own, and a parameter
/// whose variable is not set is left to the template (azure-dev#6694, azd 1.23.4). A default value
/// ends at the first closing brace.
fn can_be_given(kind: &str, default: Option<&str>) -> bool {
    let is_json = kind.ends_with("[]") || kind.starts_with('{') || kind == "object";
    if is_json { default.is_none() } else { default.is_none_or(|text| !text.contains(['}', '"'])) }
}

#[test]
fn every_parameter_of_the_template_can_be_set_by_azd_env_and_is_explained() {
    let (parameters, given) = (parameters(&template()), given());
    assert_eq!(
        parameters.keys().collect::<Vec<_>>(),
        given.keys().collect::<Vec<_>>(),
        "template, and infra/main.parameters.json"
    );
    let page = read("docs/deployment.md");
    for (name, parameter) in &parameters {
        let (variable, default) = &given[name];
        assert!(can_be_given(&parameter.kind, default.as_deref()), "{name}: {parameter:?}");
        // The environment and its region are azd's own.
        if !variable.starts_with("AZURE_") {
            // Where azd knows none, the template's own counts.
            if let Some(default) = default {
                assert_eq!(Some(default), parameter.default.as_ref(), "default of {name}");
            }
            let row = format!("| `{name}` | `{variable}` |");
            assert!(page.contains(&row), "docs/deployment.md lacks {row}");
        }
    }
    // The check can fail.
    assert!(!can_be_given("{ *: string }", Some("{")) && !can_be_given("string[]", Some("[]")));
    assert!(!can_be_given("string", Some("{\"a\": 1}")) && can_be_given("int", Some("3")));
}

/// What azd hands on for `parameter` where its variable holds `text`, as its source says.
fn as_azd_reads(parameter: &Parameter, text: &str) -> Result<Value, serde_json::Error> {
    if can_be_given(&parameter.kind, None) && !can_be_given(&parameter.kind, Some("")) {
        return serde_json::from_str(text);
    }
    let whole: Value = serde_json::from_str(&format!("{{\"value\":\"{text}\"}}"))?;
    Ok(whole["value"].clone())
}

#[test]
fn secrets_and_addresses_come_from_the_environment_as_json() {
    let parameters = parameters(&template());
    let page = read("docs/deployment.md");
    for (name, variable) in [
        ("vaultSettings", "BLOBFERRY_VAULT_SETTINGS"),
        ("allowedAddresses", "BLOBFERRY_ALLOWED_ADDRESSES"),
    ] {
        let command = format!("azd env set {variable} '");
        let (_, rest) = page.split_once(&command).expect("the page says how");
        let text = rest.split('\'').next().expect("a text");
        let value = as_azd_reads(&parameters[name], text).expect("JSON");
        assert!(value.is_object() || value.is_array(), "{value}");
        // A parameter of type `string` could not be given this text.
        let text_alone = Parameter { kind: "string".into(), default: None };
        assert!(as_azd_reads(&text_alone, text).is_err());
    }
    assert_eq!(parameters["vaultSettings"].kind, "{ *: string }");
    let schedule = as_azd_reads(&parameters["schedule"], "0 0 * * * *").expect("a text");
    assert_eq!(schedule, json!("0 0 * * * *"));
    let azd = read("azure.yaml");
    assert!(azd.contains("\nrequiredVersions:\n  azd: \">= 1.23.4\"\n"), "{azd}");
}

/// Kind and version of every resource.
fn resources(source: &str) -> Vec<(&str, &str)> {
    let lines = source.lines().filter(|line| line.starts_with("resource "));
    lines
        .map(|line| line.split('\'').nth(1).and_then(|kind| kind.split_once('@')).expect("a kind"))
        .collect()
}

#[test]
fn no_resource_is_asked_for_by_a_version_that_ends() {
    let source = template();
    let resources = resources(&source);
    assert!(resources.len() > 20, "{resources:?}");
    for (kind, version) in &resources {
        assert!(!version.ends_with("-preview"), "{kind}@{version}");
        // https://learn.microsoft.com/azure/key-vault/general/migrate-api-version
        if kind.starts_with("Microsoft.KeyVault/") {
            assert!(*version >= "2026-02-01", "{kind}@{version} ends on 27 February 2027");
        }
    }
}

/// The text of one resource.
fn resource<'s>(source: &'s str, name: &str) -> &'s str {
    let begin = source.find(&format!("\nresource {name} '")).expect("it is declared") + 1;
    let end = source[begin..].find("\n}\n").expect("it ends");
    &source[begin..begin + end]
}

#[test]
fn files_and_vault_are_closed_for_all_but_the_app_and_those_that_are_named() {
    let source = template();
    for name in ["landingStorage", "vault"] {
        let text = resource(&source, name);
        for line in [
            "    networkAcls: isClosed ? {",
            "      defaultAction: 'Deny'",
            "      ipRules: map(allowedAddresses, ",
            "      virtualNetworkRules: [{ id: appSubnet",
            "    } : null",
        ] {
            assert!(text.contains(line), "{name} lacks {line}");
        }
    }
    // A rule for a subnet asks for the service's endpoint in it, and for a network.
    let network = resource(&source, "network");
    for service in ["Microsoft.Storage", "Microsoft.KeyVault"] {
        assert!(network.contains(&format!("{{ service: '{service}' }}")), "{service}");
    }
    for name in ["address", "gateway", "network"] {
        assert!(
            resource(&source, name)
                .lines()
                .next()
                .is_some_and(|line| line.contains("= if (hasNetwork) {"))
        );
    }
    assert!(
        resource(&source, "app").contains("virtualNetworkSubnetId: hasNetwork ? appSubnet : null")
    );
}

#[test]
fn the_plan_is_as_the_platform_makes_it_unless_said_otherwise() {
    let source = template();
    let parameters = parameters(&source);
    let default = |name: &str| parameters[name].default.as_deref();
    assert_eq!(default("siteUpdate"), Some("Recreate"), "the platform's own default");
    assert_eq!(default("readyInstances"), Some("0"), "what stands ready costs by the hour");
    assert_eq!(default("allowedAddresses"), Some("[]"));
    let app = resource(&source, "app");
    for line in [
        "alwaysReady: readyInstances > 0 ? [{ name: 'http', instanceCount: readyInstances }] : []",
        "siteUpdateStrategy: {\n        type: siteUpdate\n",
    ] {
        assert!(app.contains(line), "{line}");
    }
}

#[test]
fn the_page_takes_away_the_lock_that_the_template_makes() {
    let (source, page) = (template(), read("docs/deployment.md"));
    let lock = resource(&source, "landingLock");
    assert!(lock.contains("scope: landingStorage") && lock.contains("name: 'keep-files'"));
    assert!(lock.contains("Remove this lock (keep-files)"), "who meets it reads what to do");
    for (words, output) in [
        ("az lock delete --name keep-files ", "AZURE_RESOURCE_GROUP string = resourceGroup().name"),
        (
            "--resource-name \"$(azd env get-value ",
            "BLOBFERRY_ACCOUNT string = landingStorage.name",
        ),
    ] {
        let name = output.split(' ').next().expect("a name");
        assert!(page.contains(words) && page.contains(&format!("azd env get-value {name})")));
        assert!(source.contains(&format!("\noutput {output}\n")), "{output}");
    }
}

#[test]
fn azd_asks_for_outputs_and_files_that_there_are() {
    let source = template();
    let azd = read("azure.yaml");
    let asked = azd
        .split('$')
        .skip(1)
        .map(|rest| rest.split(|c: char| c != '_' && !c.is_ascii_uppercase()).next().unwrap());
    let asked: BTreeSet<&str> = asked.filter(|name| !name.is_empty()).collect();
    assert!(asked.len() >= 3, "{asked:?}");
    for output in asked {
        assert!(
            source.contains(&format!("\noutput {output} ")),
            "azure.yaml asks for {output}, which is no output"
        );
    }
    for script in ["scripts/package.sh", "docs/tutorial.md"] {
        assert!(azd.contains(script) && root().join(script).is_file(), "{script}");
    }
}

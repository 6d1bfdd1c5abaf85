//! Where the program runs, judged from the environment alone: which plan of Azure Functions, Core
//! Tools, a container, a machine.
//!
//! The rules follow the Functions host's own (`EnvironmentExtensions.cs` of azure-functions-host);
//! `docs/platform.md` has them as a table, with the source of each. Every other room asks this one.

use std::collections::BTreeMap;
use std::fmt;

/// Set by Core Tools (`Program.cs` of azure-functions-core-tools), and by nothing in Azure.
pub(crate) const CORE_TOOLS: &str = "FUNCTIONS_CORETOOLS_ENVIRONMENT";
/// The name of the app, set by every plan of App Service and Functions. Core Tools does not set it.
pub(crate) const SITE: &str = "WEBSITE_SITE_NAME";
/// The plan in the platform's words. Flex Consumption tells it only once an instance is assigned to
/// an app.
pub(crate) const SKU: &str = "WEBSITE_SKU";
/// The instance on App Service plans (Premium, Dedicated, Consumption on Windows). Empty or missing
/// on Flex Consumption.
pub(crate) const INSTANCE: &str = "WEBSITE_INSTANCE_ID";
/// The instance on Flex Consumption.
pub(crate) const POD: &str = "WEBSITE_POD_NAME";
/// The instance on Flex Consumption and on Linux Consumption. Other platforms set it too: alone it
/// proves nothing.
pub(crate) const CONTAINER: &str = "CONTAINER_NAME";
/// Set where Flex Consumption's own platform runs the instance.
pub(crate) const LEGION: &str = "LEGION_SERVICE_HOST";
/// Set for Functions on Azure Container Apps.
pub(crate) const MANAGED_ENVIRONMENT: &str = "MANAGED_ENVIRONMENT";
/// The host name of the app; `localhost:7071` under Core Tools.
pub(crate) const HOST_NAME: &str = "WEBSITE_HOSTNAME";
/// `Development` under Core Tools.
pub(crate) const STAGE: &str = "AZURE_FUNCTIONS_ENVIRONMENT";

/// What only containers have: of Kubernetes, Azure Container Apps and its jobs, .NET's images,
/// Podman and systemd-nspawn.
const OF_CONTAINERS: &[&str] = &[
    "KUBERNETES_SERVICE_HOST",
    "CONTAINER_APP_NAME",
    "CONTAINER_APP_JOB_NAME",
    "DOTNET_RUNNING_IN_CONTAINER",
    "container",
];

/// All that tell of Azure or of Core Tools.
const SIGNS: &[&str] = &[
    CORE_TOOLS,
    SITE,
    SKU,
    INSTANCE,
    POD,
    CONTAINER,
    LEGION,
    MANAGED_ENVIRONMENT,
    HOST_NAME,
    STAGE,
];

/// A hosting plan of Azure Functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostingPlan {
    /// The plan of `infra/`.
    FlexConsumption,
    /// Elastic Premium.
    Premium,
    /// An App Service plan.
    Dedicated,
    /// The plan before Flex Consumption, on Windows or Linux.
    Consumption,
    /// Functions on Azure Container Apps.
    ContainerApps,
    /// In Azure, and nothing tells more.
    Unknown,
}

/// What kind of place it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostingKind {
    /// Azure Functions: an instance may be taken away once no invocation is under way.
    Azure(HostingPlan),
    /// Azure Functions Core Tools, on somebody's machine.
    CoreTools,
    /// A container that Azure Functions does not manage.
    Container,
    /// A laptop, a server, a virtual machine.
    Machine,
}

/// Where the program runs, and why it is taken to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosting {
    /// What kind of place it is.
    pub kind: HostingKind,
    /// The name of the app in Azure.
    pub site: Option<String>,
    /// The instance, or the machine, if the environment tells.
    pub instance: Option<String>,
    /// Which of the variables that tell of a platform are set.
    pub signs: Vec<&'static str>,
    because: String,
}

impl Hosting {
    /// The place that `environment` tells of.
    pub fn of(environment: &BTreeMap<String, String>) -> Self {
        let get = |name: &str| {
            environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
        };
        let (kind, because) = kind_of(&get);
        let instance_names: &[&str] = match kind {
            HostingKind::Azure(HostingPlan::FlexConsumption) => {
                &[POD, CONTAINER, INSTANCE, "HOSTNAME"]
            }
            HostingKind::Azure(_) => &[INSTANCE, POD, CONTAINER, "HOSTNAME", "COMPUTERNAME"],
            _ => &["HOSTNAME", "COMPUTERNAME"],
        };
        Self {
            kind,
            signs: SIGNS
                .iter()
                .chain(OF_CONTAINERS)
                .copied()
                .filter(|name| get(name).is_some())
                .collect(),
            site: get(SITE).filter(|_| matches!(kind, HostingKind::Azure(_))).map(str::to_owned),
            instance: instance_names.iter().find_map(|name| get(name)).map(str::to_owned),
            because,
        }
    }

    /// Whether this is an instance of Azure Functions, which scales out and may be taken away.
    pub fn in_azure(&self) -> bool {
        matches!(self.kind, HostingKind::Azure(_))
    }

    /// The place in words, its reason, and how work goes there.
    pub fn told(&self, by_queue: bool) -> String {
        format!("{self}; dispatch {}", if by_queue { "by queue" } else { "inline" })
    }
}

impl fmt::Display for Hosting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.kind {
            HostingKind::Azure(HostingPlan::FlexConsumption) => "Flex Consumption",
            HostingKind::Azure(HostingPlan::Premium) => "Functions Premium",
            HostingKind::Azure(HostingPlan::Dedicated) => "a Dedicated (App Service) plan",
            HostingKind::Azure(HostingPlan::Consumption) => "legacy Consumption",
            HostingKind::Azure(HostingPlan::ContainerApps) => "Functions on Container Apps",
            HostingKind::Azure(HostingPlan::Unknown) => {
                "Azure Functions, on a plan that is not known here"
            }
            HostingKind::CoreTools => "Core Tools",
            HostingKind::Container => "a container",
            HostingKind::Machine => "this machine",
        };
        write!(f, "{name}, because {}", self.because)
    }
}

fn kind_of<'a>(get: &impl Fn(&str) -> Option<&'a str>) -> (HostingKind, String) {
    if get(CORE_TOOLS).is_some() {
        return (HostingKind::CoreTools, format!("{CORE_TOOLS} is set"));
    }
    if get(SITE).is_some() {
        let (plan, because) = plan_of(get);
        return (HostingKind::Azure(plan), because);
    }
    let local = get(HOST_NAME).filter(|host| {
        ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| host.starts_with(name))
    });
    if local.is_some() || get(STAGE).is_some_and(|stage| stage.eq_ignore_ascii_case("development"))
    {
        let sign = if local.is_some() {
            format!("{HOST_NAME} is local")
        } else {
            format!("{STAGE} is Development")
        };
        return (HostingKind::CoreTools, format!("{sign} and {SITE} is not set"));
    }
    match OF_CONTAINERS.iter().find(|name| get(name).is_some()) {
        Some(name) => (HostingKind::Container, format!("{name} is set and {SITE} is not")),
        None => (HostingKind::Machine, format!("{SITE} is not set")),
    }
}

/// The plan of an app in Azure.
fn plan_of<'a>(get: &impl Fn(&str) -> Option<&'a str>) -> (HostingPlan, String) {
    if get(MANAGED_ENVIRONMENT).is_some() {
        return (HostingPlan::ContainerApps, format!("{MANAGED_ENVIRONMENT} is set"));
    }
    let says_so = || format!("{SKU} says so");
    match get(SKU) {
        Some(sku) if sku.eq_ignore_ascii_case("FlexConsumption") => {
            return (HostingPlan::FlexConsumption, says_so());
        }
        Some(sku) if sku.eq_ignore_ascii_case("ElasticPremium") => {
            return (HostingPlan::Premium, says_so());
        }
        Some(sku) if sku.eq_ignore_ascii_case("Dynamic") => {
            return (HostingPlan::Consumption, says_so());
        }
        Some(sku) => return (HostingPlan::Dedicated, format!("{SKU} is {}", shown(sku))),
        None => {}
    }
    // What follows is how the host itself judges where the plan's name is not told.
    if get(INSTANCE).is_some() {
        return (HostingPlan::Dedicated, format!("{INSTANCE} is set and {SKU} is not"));
    }
    let instance = [POD, CONTAINER].into_iter().find(|name| get(name).is_some());
    match (instance, get(LEGION)) {
        (Some(name), Some(_)) => (
            HostingPlan::FlexConsumption,
            format!("{LEGION} and {name} are set and {INSTANCE} is not"),
        ),
        (Some(CONTAINER), None) => (
            HostingPlan::Consumption,
            format!("{SITE} and {CONTAINER} are set and {LEGION} is not"),
        ),
        (Some(name), None) => (HostingPlan::FlexConsumption, format!("{SITE} and {name} are set")),
        (None, _) => (HostingPlan::Unknown, format!("{SITE} is set")),
    }
}

/// A value that somebody set, fit for a line of text.
fn shown(value: &str) -> String {
    value.chars().filter(|c| c.is_ascii_alphanumeric() || "-_. ".contains(*c)).take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(set: &[(&str, &str)]) -> Hosting {
        Hosting::of(
            &set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        )
    }

    fn check(set: &[(&str, &str)], kind: HostingKind, words: &str) {
        let place = place(set);
        assert_eq!((place.kind, place.to_string().as_str()), (kind, words), "{set:?}");
    }

    const SITE_SET: (&str, &str) = (SITE, "func-x");

    #[test]
    fn flex_consumption_is_known_though_it_has_no_instance_id() {
        use HostingPlan::FlexConsumption;
        let flex = HostingKind::Azure(FlexConsumption);
        let all = [
            SITE_SET,
            (SKU, "FlexConsumption"),
            (INSTANCE, ""),
            (CONTAINER, "c-1"),
            (POD, "pod-1"),
            (LEGION, "10.0.0.1"),
        ];
        check(&all, flex, "Flex Consumption, because WEBSITE_SKU says so");
        assert_eq!(
            place(&all).told(true),
            "Flex Consumption, because WEBSITE_SKU says so; dispatch by queue"
        );
        assert_eq!(place(&all).signs, [SITE, SKU, POD, CONTAINER, LEGION]);
        assert_eq!(
            (place(&all).instance.as_deref(), place(&all).site.as_deref()),
            (Some("pod-1"), Some("func-x"))
        );
        check(
            &[SITE_SET, (SKU, "flexconsumption")],
            flex,
            "Flex Consumption, because WEBSITE_SKU says so",
        );
        // Before the plan's name is told.
        let words = "Flex Consumption, because LEGION_SERVICE_HOST and CONTAINER_NAME are set and \
            WEBSITE_INSTANCE_ID is not";
        check(&[SITE_SET, (CONTAINER, "c-1"), (LEGION, "10.0.0.1")], flex, words);
        check(
            &[SITE_SET, (POD, "pod-1")],
            flex,
            "Flex Consumption, because WEBSITE_SITE_NAME and WEBSITE_POD_NAME are set",
        );
    }

    #[test]
    fn the_other_plans_are_told_apart() {
        let azure = HostingKind::Azure;
        check(
            &[SITE_SET, (SKU, "ElasticPremium"), (INSTANCE, "abc")],
            azure(HostingPlan::Premium),
            "Functions Premium, because WEBSITE_SKU says so",
        );
        check(
            &[SITE_SET, (SKU, "Dynamic"), (INSTANCE, "abc")],
            azure(HostingPlan::Consumption),
            "legacy Consumption, because WEBSITE_SKU says so",
        );
        let dedicated = "a Dedicated (App Service) plan, because WEBSITE_SKU is PremiumV3";
        check(
            &[SITE_SET, (SKU, "PremiumV3"), (INSTANCE, "abc")],
            azure(HostingPlan::Dedicated),
            dedicated,
        );
        let by_instance = "a Dedicated (App Service) plan, because WEBSITE_INSTANCE_ID is set and \
            WEBSITE_SKU is not";
        check(&[SITE_SET, (INSTANCE, "abc")], azure(HostingPlan::Dedicated), by_instance);
        let linux = "legacy Consumption, because WEBSITE_SITE_NAME and CONTAINER_NAME are set and \
            LEGION_SERVICE_HOST is not";
        check(&[SITE_SET, (CONTAINER, "c-1")], azure(HostingPlan::Consumption), linux);
        let apps = "Functions on Container Apps, because MANAGED_ENVIRONMENT is set";
        check(
            &[SITE_SET, (MANAGED_ENVIRONMENT, "e"), (CONTAINER, "c-1")],
            azure(HostingPlan::ContainerApps),
            apps,
        );
        let unknown =
            "Azure Functions, on a plan that is not known here, because WEBSITE_SITE_NAME is set";
        check(&[SITE_SET], azure(HostingPlan::Unknown), unknown);
    }

    #[test]
    fn core_tools_is_never_azure_whatever_local_settings_hold() {
        let core = HostingKind::CoreTools;
        check(
            &[(CORE_TOOLS, "true"), SITE_SET, (SKU, "FlexConsumption"), (INSTANCE, "a")],
            core,
            "Core Tools, because FUNCTIONS_CORETOOLS_ENVIRONMENT is set",
        );
        check(
            &[(HOST_NAME, "localhost:7071"), (STAGE, "Development")],
            core,
            "Core Tools, because WEBSITE_HOSTNAME is local and WEBSITE_SITE_NAME is not set",
        );
        check(
            &[(STAGE, "Development")],
            core,
            "Core Tools, because AZURE_FUNCTIONS_ENVIRONMENT is Development and WEBSITE_SITE_NAME \
            is not set",
        );
    }

    #[test]
    fn a_container_s_name_alone_proves_nothing() {
        check(
            &[(CONTAINER, "c-1")],
            HostingKind::Machine,
            "this machine, because WEBSITE_SITE_NAME is not set",
        );
        check(
            &[(INSTANCE, "abc")],
            HostingKind::Machine,
            "this machine, because WEBSITE_SITE_NAME is not set",
        );
        check(
            &[(SITE, " "), (SKU, "FlexConsumption")],
            HostingKind::Machine,
            "this machine, because WEBSITE_SITE_NAME is not set",
        );
        check(
            &[("KUBERNETES_SERVICE_HOST", "10.0.0.1"), (CONTAINER, "c")],
            HostingKind::Container,
            "a container, because KUBERNETES_SERVICE_HOST is set and WEBSITE_SITE_NAME is not",
        );
        check(
            &[("HOSTNAME", "box")],
            HostingKind::Machine,
            "this machine, because WEBSITE_SITE_NAME is not set",
        );
        assert_eq!(
            place(&[("HOSTNAME", "box"), (CONTAINER, "c")]).instance.as_deref(),
            Some("box")
        );
        assert!(!place(&[]).in_azure());
    }
}

//! The settings of a place for blobs: `[destination]`, `[destinations.NAME]`, `[state]`.

use crate::settings::{SettingKey, ValueKind};

/// `[destination]`.
pub(crate) const DESTINATION: &[SettingKey] = &[
    SettingKey {
        name: "connection_string",
        kind: ValueKind::Secret,
        doc: "Connection string of the storage account; `UseDevelopmentStorage=true` is Azurite.",
    },
    SettingKey {
        name: "account",
        kind: ValueKind::Text,
        doc: "Name of the storage account, reached by an identity or with `sas`.",
    },
    SettingKey {
        name: "endpoint",
        kind: ValueKind::Text,
        doc: "URL of the blob service, instead of `account`.",
    },
    SettingKey {
        name: "identity",
        kind: ValueKind::OneOf(&["managed", "workload", "service-principal", "cli"]),
        doc: "Who we are to the account: a managed identity, a Kubernetes workload, an application \
            with a secret or a certificate, or whoever is logged in with `az login`. Default \
            `managed`.",
    },
    SettingKey {
        name: "client_id",
        kind: ValueKind::Text,
        doc: "Client id of a user-assigned identity or of an application. Default: the \
            environment's AZURE_CLIENT_ID, if set.",
    },
    SettingKey {
        name: "object_id",
        kind: ValueKind::Text,
        doc: "Object id of a user-assigned identity, instead of `client_id`.",
    },
    SettingKey {
        name: "resource_id",
        kind: ValueKind::Text,
        doc: "Resource id of a user-assigned identity, `/subscriptions/…`, instead of `client_id`.",
    },
    SettingKey {
        name: "tenant",
        kind: ValueKind::Text,
        doc: "Directory of an application. Default: the environment's AZURE_TENANT_ID.",
    },
    SettingKey {
        name: "client_secret",
        kind: ValueKind::Secret,
        doc: "Secret of an application. Default: the environment's AZURE_CLIENT_SECRET, if set.",
    },
    SettingKey {
        name: "client_certificate_file",
        kind: ValueKind::Text,
        doc: "Certificate of an application with its RSA key, PEM, relative to this file. Default: \
            the environment's AZURE_CLIENT_CERTIFICATE_PATH, if set.",
    },
    SettingKey {
        name: "ca_file",
        kind: ValueKind::Text,
        doc: "Authorities to trust beside the machine's own, PEM, relative to this file: where a \
            firewall opens TLS on the way to storage.",
    },
    SettingKey {
        name: "sas",
        kind: ValueKind::Secret,
        doc: "Shared access signature with the rights to read, add, create, write, delete and \
            list.",
    },
    SettingKey { name: "container", kind: ValueKind::Text, doc: "Container that blobs go to." },
    SettingKey {
        name: "create_container",
        kind: ValueKind::Flag,
        doc: "Whether a missing container is created. Default true.",
    },
    SettingKey {
        name: "api_version",
        kind: ValueKind::Text,
        doc: "`x-ms-version` to ask for, for services that do not know the newest.",
    },
    SettingKey {
        name: "folder",
        kind: ValueKind::Text,
        doc: "A local folder instead of Azure, relative to this file.",
    },
];
